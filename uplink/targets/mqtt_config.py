"""[targets.NAME] with kind = "mqtt": one broker. The commented sample is uplink/sample.toml."""

from typing import Annotated, Literal

from msgspec import Meta

from uplink.files import secret_in
from uplink.settings import File, Host, OptionalHost, Port, TargetConfig, TargetSettings, Text
from uplink.tunnel import Proxy, parsed_proxy

ALPN_MAX = 8
Protocol = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[!-~]+$")]
"""The name of an application protocol; RFC 7301, 3.1 allows 255 bytes."""


class MqttConfig(TargetConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One broker."""

    host: Host
    port: Port = 8883
    client_id: Annotated[str, Meta(max_length=128)] = ""
    """Empty: tailrace-<gateway>-<target>. Two clients of one id push each other out for ever."""
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

    def __post_init__(self) -> None:
        """Token and credentials are shown where there is something to show them to."""
        super().__post_init__()
        if self.proxy:
            parsed_proxy(self.proxy)
        if self.proxy_user and not self.proxy:
            raise ValueError("proxy_user needs proxy")
        if self.proxy_password_file and not self.proxy_user:
            raise ValueError("proxy_password_file needs proxy_user")
        if self.websocket_token_file and self.transport != "websocket":
            raise ValueError('websocket_token_file needs transport = "websocket"')

    def cautions(self) -> tuple[tuple[str, str], ...]:
        """Return what a person should know of these keys, as (key, text)."""
        if self.tls_min == "1.3":
            return ()
        return (("tls_min", OLD_TLS),)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The keys whose files only the owner may read."""
        return (*super().secrets, "websocket_token_file", "proxy_password_file")

    @property
    def protocols(self) -> tuple[str, ...]:
        """What is offered in the TLS handshake."""
        return self.alpn or (("http/1.1",) if self.transport == "websocket" else ())

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
    """Return the name under which the broker knows us."""
    return mqtt_config(settings).client_id or f"tailrace-{settings.gateway}-{settings.name}"
