"""[targets.NAME] with kind = "mqtt": one broker. The commented sample is uplink/sample.toml."""

import re
from typing import Annotated, Literal

from msgspec import Meta

from common.naming import BROKER_PROFILES, BrokerLimits
from uplink.settings import Host, OptionalHost, Port, TargetConfig, TargetSettings

DAY_S = 86_400
HTTPS_PORT, PORT_MAX = 443, 65_535
AWS_ALPN = ("x-amzn-mqtt-ca",)
_REFERENCE = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9._-]{1,253}))(?::(?P<port>\d{1,5}))?(?:\s|$)"
)
_OF_MQTT_5 = ("session_expiry_s", "will_delay_s", "topic_aliases_max", "live_expiry_s")


class MqttConfig(TargetConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One broker."""

    host: Host
    port: Port = 8883
    mqtt_version: Literal["5", "3.1.1"] = "5"
    """With 3.1.1 a broker cannot say that it refuses a message: denied, it counts as delivered."""
    broker: Literal["", "aws", "azure", "emqx", "umh"] = ""
    """What kind of broker it is: limits that it has and does not announce (common/naming.py)."""
    client_id: Annotated[str, Meta(max_length=128)] = ""
    """Empty: tailrace-<gateway>-<target>. Two clients of one id push each other out for ever."""
    client_id_from: Literal["config", "broker"] = "config"
    """broker: it chooses a name for each connection."""
    redirects: Literal["refuse", "follow"] = "refuse"
    """Whether a broker may send us to another server, whose certificate must carry its name."""
    server_name: OptionalHost = ""
    """The name that the broker's certificate must carry, where it is not `host`."""
    keepalive_s: Annotated[int, Meta(ge=5, le=3_600)] = 15
    connect_timeout_s: Annotated[float, Meta(ge=0.5, le=60)] = 5.0
    reply_timeout_s: Annotated[float, Meta(ge=1, le=600)] = 20.0
    session_expiry_s: Annotated[int, Meta(ge=0, le=DAY_S * 366)] = 0
    """How long the broker remembers us when we are gone; 0: not at all. Only for `will_delay_s`."""
    will_delay_s: Annotated[int, Meta(ge=0, le=DAY_S)] = 0
    """How long we may be gone before the broker says so; within `session_expiry_s`."""
    topic_aliases_max: Annotated[int, Meta(ge=0, le=65_535)] = 0
    """Topics for which a number is sent; the broker may lower it."""
    live_expiry_s: Annotated[int, Meta(ge=0, le=DAY_S * 366)] = 0
    """Message Expiry Interval of current values, retained ones included; 0: they never expire."""
    publishes_max_per_s: Annotated[int, Meta(ge=-1, le=1_000_000)] = -1
    """Of one connection; 0: as fast as the broker takes them; -1: as `broker` says, else 0."""
    bytes_max_per_s: Annotated[int, Meta(ge=-1, le=1_000_000_000)] = -1
    """As publishes_max_per_s, for the packets."""
    connections: Annotated[int, Meta(ge=1, le=16)] = 1
    """Over which the topics are spread, each with its own client id: -1, -2 and so on."""
    basic_ingest_rule: Annotated[str, Meta(max_length=128, pattern=r"^[A-Za-z0-9_]*$")] = ""
    """AWS IoT Core: the rule that gets history by Basic Ingest; empty: history as all else."""

    def __post_init__(self) -> None:
        """MQTT 3.1.1 cannot be asked for what only 5 has; who forgets us does not wait for us."""
        super().__post_init__()
        for key in _OF_MQTT_5 if self.mqtt_version != "5" else ():
            if getattr(self, key):
                raise ValueError(f"{key} needs mqtt_version 5")
        if self.will_delay_s > self.session_expiry_s:
            raise ValueError("will_delay_s must not be above session_expiry_s")
        if self.client_id_from == "broker" and self.client_id:
            raise ValueError('client_id has no use with client_id_from = "broker"')
        if self.client_id_from == "broker" and self.session_expiry_s:
            raise ValueError("session_expiry_s needs a client_id that stays: client_id_from")
        limits = limits_of(self)
        if limits.keepalive_max_s and self.keepalive_s > limits.keepalive_max_s:
            raise ValueError(f"keepalive_s: {self.broker} allows {limits.keepalive_max_s}")
        if self.basic_ingest_rule and self.broker != "aws":
            raise ValueError('basic_ingest_rule needs broker = "aws"')

    @property
    def place(self) -> str:
        """`host:port`, for people."""
        return f"{self.host}:{self.port}"

    @property
    def verified_name(self) -> str:
        """The name that the broker's certificate must carry."""
        return self.server_name or self.host


def mqtt_config(settings: TargetSettings) -> MqttConfig:
    """Return the keys of a broker; the settings must be those of one."""
    config = settings.config
    if not isinstance(config, MqttConfig):
        raise TypeError(f"target {settings.name} is of kind {config.kind!r}, not a broker")
    return config


def client_id(settings: TargetSettings) -> str:
    """Return the name under which the broker shall know us; empty: it chooses one."""
    if mqtt_config(settings).client_id_from == "broker":
        return ""
    return mqtt_config(settings).client_id or f"tailrace-{settings.gateway}-{settings.name}"


def shard_id(settings: TargetSettings, shard: int) -> str:
    """Return the name of one of several connections, from 1; of an only one its target's."""
    name = client_id(settings)
    return f"{name}-{shard}" if name and mqtt_config(settings).connections > 1 else name


def wrong_name(settings: TargetSettings) -> str | None:
    """Return why the broker would not like our client id, None when it would."""
    limit = limits_of(mqtt_config(settings)).client_id_bytes_max
    longest = shard_id(settings, mqtt_config(settings).connections)
    size = len(longest.encode())
    if not limit or size <= limit:
        return None
    broker = mqtt_config(settings).broker
    return f"client_id {longest!r} has {size} bytes, {broker} allows {limit}"


def limits_of(config: MqttConfig) -> BrokerLimits:
    """Return the limits of this kind of broker."""
    return BROKER_PROFILES[config.broker] if config.broker else BrokerLimits("")


def rates_of(config: MqttConfig) -> tuple[int, int]:
    """Return how many publishes and bytes a second one connection may send; 0 is no limit."""
    limits = limits_of(config)
    publishes, size = config.publishes_max_per_s, config.bytes_max_per_s
    return (
        limits.publishes_max_per_s if publishes < 0 else publishes,
        limits.bytes_max_per_s if size < 0 else size,
    )


def usual_alpn(config: MqttConfig) -> tuple[str, ...]:
    """Return the protocols to offer in the TLS handshake, as this kind of broker needs them.

    AWS IoT Core serves MQTT with client certificates on port 443 to whoever asks for it so
    (Developer Guide, "Protocols, port mappings, and authentication").
    """
    return AWS_ALPN if config.broker == "aws" and config.port == HTTPS_PORT else ()


def server_of(reference: str) -> tuple[str, int] | None:
    """Return host and port (0: not said) of a Server Reference, None when it is no address.

    MQTT 5, 4.11: names, with a colon and port where needed, separated by spaces; the first is
    taken. An IPv6 address stands in brackets (RFC 3986).
    """
    found = _REFERENCE.match(reference.strip())
    if found is None:
        return None
    host, port = found["v6"] or found["name"], int(found["port"] or 0)
    return (host, port) if port <= PORT_MAX else None
