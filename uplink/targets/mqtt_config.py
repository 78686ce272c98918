"""[targets.NAME] with kind = "mqtt": one broker. The commented sample is uplink/sample.toml."""

from typing import Annotated

from msgspec import Meta

from uplink.settings import Host, OptionalHost, Port, TargetConfig, TargetSettings

DAY_S = 86_400


class MqttConfig(TargetConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One broker."""

    host: Host
    port: Port = 8883
    client_id: Annotated[str, Meta(max_length=128)] = ""
    """Empty: tailrace-<gateway>-<target>. Two clients of one id push each other out for ever."""
    server_name: OptionalHost = ""
    """The name that the broker's certificate must carry, where it is not `host`."""
    keepalive_s: Annotated[int, Meta(ge=5, le=3_600)] = 15
    connect_timeout_s: Annotated[float, Meta(ge=0.5, le=60)] = 5.0
    reply_timeout_s: Annotated[float, Meta(ge=1, le=600)] = 20.0
    live_expiry_s: Annotated[int, Meta(ge=0, le=DAY_S * 366)] = 0
    """Message Expiry Interval of current values, retained ones included; 0: they never expire."""
    basic_ingest_rule: Annotated[str, Meta(max_length=128, pattern=r"^[A-Za-z0-9_]*$")] = ""
    """AWS IoT Core: the rule that gets history by Basic Ingest; empty: history as all else."""

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
    """Return the name under which the broker knows us."""
    return mqtt_config(settings).client_id or f"tailrace-{settings.gateway}-{settings.name}"
