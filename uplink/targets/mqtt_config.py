"""[targets.NAME] with kind = "mqtt": one broker. The commented sample is uplink/sample.toml."""

import re
from typing import Annotated, Literal

from msgspec import Meta

from common.naming import BROKER_PROFILES, BrokerLimits
from uplink.files import secret_in
from uplink.settings import File, Host, OptionalHost, Port, TargetConfig, TargetSettings, Text
from uplink.tunnel import Proxy, parsed_proxy

ALPN_MAX = 8
Protocol = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[!-~]+$")]
"""The name of an application protocol; RFC 7301, 3.1 allows 255 bytes."""

DAY_S = 86_400
HTTPS_PORT, PORT_MAX = 443, 65_535
AWS_ALPN = ("x-amzn-mqtt-ca",)
_REFERENCE = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9._-]{1,253}))(?::(?P<port>\d{1,5}))?(?:\s|$)"
)
_NOT_OF_SPARKPLUG: dict[str, tuple[object, ...]] = {
    "mqtt_version": ("5",),
    "session_expiry_s": (0,),
    "live_expiry_s": (0,),
    "connections": (1,),
    "basic_ingest_rule": ("",),
    "cloud_events": ("off",),
    "backfill_payload": ("",),
}
"""Key → the values that an edge node may have: one clean session, its own wire form."""
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
    tls_min: Literal["1.3", "1.2"] = "1.3"
    """The oldest TLS that is spoken. "1.2" only for a broker that has nothing newer."""
    alpn: Annotated[tuple[Protocol, ...], Meta(max_length=ALPN_MAX)] = ()
    """Protocol names to offer in the TLS handshake (RFC 7301), for ports that serve several."""
    transport: Literal["tcp", "websocket"] = "tcp"
    """How MQTT is carried over TLS."""
    websocket_path: Annotated[str, Meta(max_length=1_024, pattern=r"^/[!-~]*$")] = "/mqtt"
    websocket_token_file: File = ""
    """A token to show when the WebSocket is opened: Authorization: Bearer … (RFC 6750)."""
    proxy: Annotated[str, Meta(max_length=512)] = ""
    """http://host:port (CONNECT) or socks5://host:port, which also resolves `host`."""
    proxy_user: Text = ""
    proxy_password_file: File = ""
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
        self._check_way()
        self._check_profile()
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

    def _check_way(self) -> None:
        """Token and credentials are shown where there is something to show them to."""
        if self.proxy:
            parsed_proxy(self.proxy)
        if self.proxy_user and not self.proxy:
            raise ValueError("proxy_user needs proxy")
        if self.proxy_password_file and not self.proxy_user:
            raise ValueError("proxy_password_file needs proxy_user")
        if self.websocket_token_file and self.transport != "websocket":
            raise ValueError('websocket_token_file needs transport = "websocket"')

    def _check_profile(self) -> None:
        """What a payload profile cannot do without, or does not go with."""
        if self.cloud_events != "off" and self.mqtt_version != "5":
            raise ValueError("cloud_events needs mqtt_version 5")
        for key in _NOT_OF_SPARKPLUG if self.payload == "sparkplug" else ():
            if getattr(self, key) not in _NOT_OF_SPARKPLUG[key]:
                raise ValueError(f'{key} does not go with payload = "sparkplug"')

    def cautions(self) -> tuple[tuple[str, str], ...]:
        """Return what a person should know of these keys, as (key, text)."""
        found = []
        if self.tls_min != "1.3":
            found.append(("tls_min", OLD_TLS))
        if self.mqtt_version == "3.1.1":
            found.append(("mqtt_version", NO_REASONS))
        return tuple(found)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The keys whose files only the owner may read."""
        return (*super().secrets, "websocket_token_file", "proxy_password_file")

    @property
    def protocols(self) -> tuple[str, ...]:
        """What is offered in the TLS handshake.

        AWS IoT Core serves MQTT with client certificates on port 443 to whoever asks for it so
        (Developer Guide, "Protocols, port mappings, and authentication").
        """
        if self.alpn:
            return self.alpn
        if self.transport == "websocket":
            return ("http/1.1",)
        return AWS_ALPN if self.broker == "aws" and self.port == HTTPS_PORT else ()

    @property
    def place(self) -> str:
        """`host:port`, for people."""
        return f"{self.host}:{self.port}"

    @property
    def first_hop(self) -> tuple[str, int]:
        """Host and port that are connected to: the proxy's, else the broker's."""
        return parsed_proxy(self.proxy)[1:] if self.proxy else (self.host, self.port)

    @property
    def verified_name(self) -> str:
        """The name that the broker's certificate must carry."""
        return self.server_name or self.host


NO_REASONS = (
    "MQTT 3.1.1 has no reasons: a message that the broker denies counts as delivered, unseen"
)
OLD_TLS = "TLS 1.2 is allowed: enable TLS 1.3 in the broker, then remove this key"


def mqtt_config(settings: TargetSettings) -> MqttConfig:
    """Return the keys of a broker; the settings must be those of one."""
    config = settings.config
    if not isinstance(config, MqttConfig):
        raise TypeError(f"target {settings.name} is of kind {config.kind!r}, not a broker")
    return config


def proxy_of(settings: TargetSettings) -> Proxy | None:
    """Return the proxy on the way and what it is shown, None where there is none.

    Raises TargetRefused when the password cannot be read.
    """
    config = mqtt_config(settings)
    if not config.proxy:
        return None
    password = secret_in(settings, "proxy_password_file") or ""
    return Proxy(*parsed_proxy(config.proxy), config.proxy_user, password)


def client_id(settings: TargetSettings) -> str:
    """Return the name under which the broker shall know us; empty: it chooses one."""
    if mqtt_config(settings).client_id_from == "broker":
        return ""
    return mqtt_config(settings).client_id or settings.usual_client_id


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
