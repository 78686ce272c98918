"""TLS toward the far side: never below tls_min, the name checked, failures told as sentences.

`explained` is the one place that turns what ssl and the operating system raise into what an IT
engineer can act on. In TLS 1.3 the far side judges our certificate after our handshake is done,
so its refusal comes with the first read; pass such errors here as well.
"""

import socket
import ssl

from common.errors import TargetUnavailable
from uplink.contract import TargetRefused
from uplink.settings import TargetSettings
from uplink.targets.mqtt_config import MqttConfig, mqtt_config, proxy_of
from uplink.tunnel import tunnel

NAMES_TIMEOUT_S = 2.0
"""For connecting, the proxy, and shaking hands once more: to read a wrong certificate's names."""

# OpenSSL's X509_V_ERR_…, x509_vfy.h
_NOT_YET_VALID = 9
_EXPIRED = 10
_SELF_SIGNED = (18, 19)
_UNKNOWN_ISSUER = (2, 20, 21)
_NAME_MISMATCH = (62, 64)

_ALERTS = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": (
        "the broker requires a client certificate and got none; set cert_file and key_file"
    ),
    "TLSV1_ALERT_UNKNOWN_CA": (
        "the broker does not know the authority that signed our certificate (cert_file); "
        "have it signed by one that the broker trusts"
    ),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": (
        "the broker says that our certificate (cert_file) has expired; renew it"
    ),
    "SSLV3_ALERT_CERTIFICATE_REVOKED": (
        "the broker says that our certificate (cert_file) was revoked; get another"
    ),
    "SSLV3_ALERT_BAD_CERTIFICATE": "the broker cannot use our certificate (cert_file)",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the broker cannot use our certificate (cert_file)",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the broker does not accept our certificate (cert_file)",
    "TLSV1_ALERT_ACCESS_DENIED": "the broker knows our certificate (cert_file) but denies access",
    "TLSV1_ALERT_DECRYPT_ERROR": "the broker cannot verify our signature; does key_file fit?",
    "TLSV1_UNRECOGNIZED_NAME": "the broker serves no such name; check host and server_name",
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": (
        "the broker speaks none of the protocols in alpn; ask its operator which name it wants"
    ),
    "SSLV3_ALERT_HANDSHAKE_FAILURE": (
        "the broker found no cipher in common, or wants a client certificate; see its TLS settings"
    ),
}
_OLD_TLS = (
    "TLSV1_ALERT_PROTOCOL_VERSION",
    "UNSUPPORTED_PROTOCOL",
    "NO_PROTOCOLS_AVAILABLE",
    "VERSION_TOO_LOW",
)
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE")


_VERSIONS = {"1.3": ssl.TLSVersion.TLSv1_3, "1.2": ssl.TLSVersion.TLSv1_2}


def weakness(version: str | None) -> str | None:
    """Return what is to be said of the TLS version of a connection, None when it is 1.3."""
    if version == "TLSv1.3":
        return None
    return (
        f"the connection is only {version}, as tls_min allows: enable TLS 1.3 in the broker, then "
        "remove tls_min"
    )


def configure(context: ssl.SSLContext, settings: TargetSettings) -> None:
    """Load authorities, certificate and key into a fresh PROTOCOL_TLS_CLIENT context.

    Read anew for each connection, so that a renewed certificate is taken up by reconnecting.
    Raises TargetRefused when a file cannot be used.
    """
    config = mqtt_config(settings)
    context.minimum_version = _VERSIONS[config.tls_min]
    context.options |= ssl.OP_NO_RENEGOTIATION  # Of TLS 1.2; 1.3 has none.
    if config.protocols:
        context.set_alpn_protocols(list(config.protocols))
    context.check_hostname = True
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        if settings.ca_file is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        else:
            context.load_verify_locations(settings.ca_file)
        if settings.cert_file is not None:
            context.load_cert_chain(settings.cert_file, settings.key_file, password="")
    except OSError as error:  # ssl.SSLError is one.
        raise TargetRefused(
            f"the TLS files of target {settings.name} cannot be used ({error}); "
            "run: python -m uplink --check"
        ) from error


def explained(
    error: OSError | ValueError, settings: TargetSettings, *, at_proxy: bool = False
) -> TargetUnavailable:
    """Return the error as a sentence; TargetRefused when waiting alone will not cure it.

    `at_proxy`: it happened on the way to the proxy. For a certificate with a wrong name it connects
    once more, 3 * NAMES_TIMEOUT_S at most: call it where that may block.
    """
    config = mqtt_config(settings)
    if isinstance(error, ssl.SSLCertVerificationError):
        return TargetRefused(f"{config.place}: {_unverified(error, settings)}")
    if isinstance(error, ssl.SSLError):
        return _from_tls(error, config)
    host, keys = (config.first_hop[0], "proxy") if at_proxy else (config.host, "host and port")
    if isinstance(error, OSError):
        place = f"the proxy {config.proxy}" if at_proxy else config.place
        return TargetUnavailable(_from_network(error, host, place, keys, config.connect_timeout_s))
    return TargetRefused(f"{host!r} is not a host name that can be looked up ({error})")


def _from_network(error: OSError, host: str, place: str, keys: str, timeout_s: float) -> str:
    if isinstance(error, socket.gaierror):
        return (
            f"the name {host} cannot be resolved ({error.strerror}); "
            f"check {keys}, and the gateway's name server"
        )
    if isinstance(error, ConnectionRefusedError):
        return (
            f"{place} refused the connection: nothing listens there; is it up, "
            f"is what stands in {keys} right?"
        )
    if isinstance(error, TimeoutError) and "handshake" in str(error):
        return f"{place} took the connection but never answered over TLS"
    if isinstance(error, TimeoutError):
        return (
            f"{place} does not answer (within {timeout_s:g} s); check the network "
            "and the firewalls on the way"
        )
    if isinstance(error, ConnectionError):
        return f"{place} cut the connection ({error.strerror or error})"
    return f"{place} cannot be reached: {error.strerror or error}"


def _from_tls(error: ssl.SSLError, config: MqttConfig) -> TargetUnavailable:
    reason, place = _reason(error), config.place
    if reason in _ALERTS:
        return TargetRefused(f"{place}: {_ALERTS[reason]}")
    if reason in _OLD_TLS:
        return TargetRefused(f"{place} {_too_old(config)}")
    if reason in _NO_TLS and config.proxy:
        return TargetRefused(
            f"what the proxy {config.proxy} connected us to, as {place}, does not speak TLS: is it "
            "the broker's TLS port, or did the proxy answer itself (a captive portal)?"
        )
    if reason in _NO_TLS:
        return TargetRefused(
            f"{place} does not speak TLS on this port; the broker's TLS port is usually 8883 "
            "(or a proxy answered instead)"
        )
    if isinstance(error, ssl.SSLEOFError):
        return TargetUnavailable(f"{place} cut the connection during or after the TLS handshake")
    return TargetUnavailable(f"{place}: TLS failed ({reason or error})")


def _reason(error: ssl.SSLError) -> str:
    """Return OpenSSL's name of a failure, also of those that Python's table of names lacks."""
    spelled = str(error).partition("] ")[2].partition(" (")[0]
    return error.reason or spelled.upper().replace(" ", "_")


def _too_old(config: MqttConfig) -> str:
    if config.tls_min == "1.2":
        return "speaks only TLS 1.1 or older; Tailrace never does: enable TLS 1.3 in the broker"
    return (
        "speaks only TLS 1.2 or older; Tailrace needs TLS 1.3: enable it in the broker, or, if it "
        'cannot, set tls_min = "1.2"'
    )


def _unverified(error: ssl.SSLCertVerificationError, settings: TargetSettings) -> str:
    code = error.verify_code
    trusted = settings.ca_file or "the operating system's authorities"
    if code in _NAME_MISMATCH:
        names = ", ".join(_names_presented(settings)) or "no name that could be read"
        return (
            f"the broker's certificate is not for {mqtt_config(settings).verified_name}, it is "
            f"for {names}; correct host, or set server_name"
        )
    if code == _EXPIRED:
        return "the broker's certificate has expired; have it renewed (or this clock is wrong)"
    if code == _NOT_YET_VALID:
        return "the broker's certificate is not valid yet; is this gateway's clock right?"
    if code in _SELF_SIGNED or code in _UNKNOWN_ISSUER:
        return (
            f"the broker's certificate is not signed by an authority in {trusted}; "
            "set ca_file to the broker's authority"
        )
    return f"the broker's certificate is not accepted: {error.verify_message}"


def _names_presented(settings: TargetSettings) -> list[str]:
    """Return the names in the broker's certificate: one more handshake, everything else checked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    config = mqtt_config(settings)
    try:
        proxy = proxy_of(settings)
        configure(context, settings)
        context.check_hostname = False  # Its name is the question; its signature is still checked.
        with socket.create_connection(config.first_hop, timeout=NAMES_TIMEOUT_S) as connection:
            if proxy is not None:
                tunnel(connection, proxy, config.host, config.port)
            connection.settimeout(NAMES_TIMEOUT_S)
            with context.wrap_socket(connection, server_hostname=config.verified_name) as wrapped:
                certificate = wrapped.getpeercert() or {}
    except (OSError, ValueError, TargetUnavailable):
        return []
    names = certificate.get("subjectAltName", ())
    return [str(entry[1]) for entry in names]
