"""[targets.NAME] with kind = "kafka": one topic of a cluster. Sample: uplink/sample_kafka.toml.

No foreign library here: `tailrace check` reads this where confluent-kafka is not installed.
"""

from typing import Annotated, Literal

from msgspec import Meta

from uplink.settings import IN_FLIGHT_MAX, TargetConfig, TargetSettings

SERVERS_MAX = 16
Server = Annotated[
    str,
    Meta(max_length=270, pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253}):[0-9]{1,5}$"),
]
Topic = Annotated[str, Meta(min_length=1, max_length=249, pattern=r"^[A-Za-z0-9._-]+$")]
"""What Kafka allows in the name of a topic (org.apache.kafka.common.internals.Topic)."""


class KafkaConfig(TargetConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One topic of one cluster."""

    bootstrap_servers: Annotated[tuple[Server, ...], Meta(min_length=1, max_length=SERVERS_MAX)]
    """`host:port` of some brokers; they tell of the others."""
    topic: Topic
    key: Literal["tag", "asset"] = "tag"
    """`tag`: a message's whole path; `asset`: the path without its last level."""
    security: Literal["tls", "plaintext"] = "tls"
    tls_min: Literal["1.3", "1.2"] = "1.3"
    sasl: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"
    """How user and password are proved; not used without `user`."""
    client_id: Annotated[str, Meta(max_length=128)] = ""
    """Empty: tailrace-<gateway>-<target>. For the cluster's logs and quotas."""
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "lz4"
    linger_s: Annotated[float, Meta(ge=0, le=1)] = 0.005
    """How long a message may wait for others of its partition: all go in one batch."""
    batch_bytes: Annotated[int, Meta(ge=1_000, le=100_000_000)] = 1_000_000
    """Of one batch before compression; never above `message_bytes_max`."""
    message_bytes_max: Annotated[int, Meta(ge=1_000, le=100_000_000)] = 1_000_000
    """Of one message with key and headers; at most max.message.bytes of the topic."""
    connect_timeout_s: Annotated[float, Meta(ge=0.5, le=60)] = 10.0
    delivery_timeout_s: Annotated[float, Meta(ge=1, le=600)] = 30.0
    """Without an answer for so long, the connections are given up and everything is sent again."""
    in_flight_max: Annotated[int, Meta(ge=1, le=IN_FLIGHT_MAX)] = IN_FLIGHT_MAX

    def __post_init__(self) -> None:
        """Without TLS there is nothing for its files to do, and a password is not shown around."""
        super().__post_init__()
        if self.topic in {".", ".."}:
            raise ValueError(f"topic: Kafka does not allow the name {self.topic!r}")
        if self.security == "tls":
            return
        if self.ca_file or self.cert_file:
            raise ValueError('ca_file and cert_file need TLS: remove security = "plaintext"')
        if self.user and self.sasl == "PLAIN":
            raise ValueError('sasl = "PLAIN" shows the password without TLS: use SCRAM, or TLS')

    @property
    def place(self) -> str:
        """The brokers, for people."""
        return ", ".join(self.bootstrap_servers)

    @property
    def live_first(self) -> bool:
        """Only where it is asked for: order per key is what a log is for."""
        return self.drain == "live-first"

    def cautions(self) -> tuple[tuple[str, str], ...]:
        """Return what a person should know of these keys, as (key, text)."""
        if self.security == "tls":
            return ()
        return (("security", PLAINTEXT),)


PLAINTEXT = "without TLS everybody on the way can read and change the data; use it in a test alone"


def kafka_config(settings: TargetSettings) -> KafkaConfig:
    """Return the keys of a cluster; the settings must be those of one."""
    config = settings.config
    if not isinstance(config, KafkaConfig):
        raise TypeError(f"target {settings.name} is of kind {config.kind!r}, not a Kafka cluster")
    return config


def client_id(settings: TargetSettings) -> str:
    """Return the name under which the cluster's logs and quotas know us."""
    return kafka_config(settings).client_id or settings.usual_client_id
