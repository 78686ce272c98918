"""The asyncua client of one server: its security, and its errors in words."""

import asyncio
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from asyncua import ua
from asyncua.client.client import Client
from asyncua.crypto import uacrypto
from asyncua.ua.uaerrors import UaError, UaStatusCodeError
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from collectors.opcua.config import OpcuaAccess
from collectors.opcua.security import (
    MODES,
    POLICIES,
    TRUST_COMMAND,
    check_session,
    discovered_certificate,
    gateway_identity,
    pinned_certificate,
    say_once,
    user_identity,
)
from collectors.resolving import resolved
from common.errors import SourceUnavailable

LIFETIME_S = 60.0
"""After this long without us the server forgets subscription and session; both are scarce."""
APPLICATION_URI = "urn:tailrace:gateway"

_NEVER_S = 86_400.0
"""Of asyncua's watchdog: it declares a busy server dead; device.py has its own."""

ForgedMessage: type[Exception] = vars(uacrypto)["InvalidSignature"]
"""asyncua's own, beside the one of cryptography that it hides behind the same name."""
MALFORMED = (
    struct.error,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,  # RecursionError: variants within variants
    MemoryError,
)
"""What asyncua's parser raises on bytes that are no OPC UA, beside its own errors."""
# TimeoutError and every socket error are OSErrors. An AssertionError without a word is how
# asyncua reports a server that closes the channel because it does not trust our certificate.
ERRORS = (
    UaError,
    OSError,
    AssertionError,
    InvalidSignature,
    ForgedMessage,
    x509.ExtensionNotFound,
    UnsupportedAlgorithm,
    *MALFORMED,
)
_UNTRUSTED = (
    "trust the gateway's certificate at the server (many keep it under `rejected`); its file and "
    f"fingerprint: {TRUST_COMMAND} own"
)
_CLOCKS = "compare the clocks of the gateway and the server, and correct the wrong one"
_USER = "check user and password_file, or user_cert_file"
_ADVICE = {
    "BadCertificateUntrusted": _UNTRUSTED,
    "BadCertificateChainIncomplete": _UNTRUSTED,
    "BadSecurityChecksFailed": _UNTRUSTED,
    "BadCertificateInvalid": f"the server does not take the gateway's certificate; {_UNTRUSTED}",
    "BadCertificateTimeInvalid": (
        f"the server finds the gateway's certificate expired or not yet valid; {_CLOCKS}"
    ),
    "BadCertificateHostNameInvalid": (
        "the server misses a host name that it knows in the gateway's certificate; give it one "
        "with cert_file and key_file, or turn that check off at the server"
    ),
    "BadCertificateUriInvalid": "the certificate's URI must be the one the server expects",
    "BadCertificateUseNotAllowed": (
        "the server finds the gateway's certificate made for another use; give one with cert_file"
    ),
    "BadCertificateRevoked": "the server's trust list revokes the gateway's certificate",
    "BadCertificateRevocationUnknown": (
        "the server has no revocation list of the authority of the gateway's certificate; add it"
    ),
    "BadSecurityPolicyRejected": "enable the security policy at the server, or set another",
    "BadSecurityModeRejected": "enable the security mode at the server, or set another",
    "BadInvalidTimestamp": _CLOCKS,
    "BadUserAccessDenied": f"{_USER}, and the user's rights on the server",
    "BadUserSignatureInvalid": "user_key_file does not fit, or the server does not trust the user",
    "BadIdentityTokenRejected": _USER,
    "BadIdentityTokenInvalid": f"{_USER}; anonymous may not be allowed",
    "BadTooManySessions": "the server has no session free; close unused clients",
    "BadTcpNotEnoughResources": "the server has no connection free; close unused clients",
    "BadTcpServerTooBusy": "the server has no connection free; close unused clients",
    "BadTcpEndpointUrlInvalid": "the server does not know the path of `endpoint`; correct it",
    "BadLicenseLimitsExceeded": "the server's licence allows no more; close unused clients",
}


class AddressedClient(Client):
    """A client that connects to an address, and speaks to the server by the endpoint's name."""

    address = ""
    check: Callable[[ua.CreateSessionResult], None] | None = None
    """Called with the session that the server has made, before we say who the user is."""

    async def connect_socket(self) -> None:
        """Open the connection. The look-up of a name could not be bounded here."""
        await self.uaclient.connect_socket(self.address, self.server_url.port or 0)

    async def create_session(self) -> ua.CreateSessionResult:
        """Create the session, and close it again when it must not be used."""
        result = await super().create_session()
        if self.check:
            try:
                self.check(result)
            except SourceUnavailable:
                # Sessions are scarce: the server would keep this one until it times out.
                with suppress(*ERRORS):
                    await self.uaclient.close_session(True)  # noqa: FBT003 - their signature
                raise
        return result


async def new_client(config: OpcuaAccess) -> Client:
    """Return a client that is not connected, and will speak to nobody but the trusted server.

    With a trust list the server is asked for its certificate first, on a connection of its own.
    Raises SourceUnavailable when the name does not resolve, a file is unusable, or the server's
    certificate is not trusted; the library's errors when the server cannot be asked.
    """
    client = await _bare_client(config)
    if config.security == "none":
        say_once(
            config.device,
            "the connection is not secured: anybody on the network can read the values, and "
            "change them on their way; set security",
            warn=False,
        )
        client.check = partial(_check, config, None, None)
        return client
    # Making a key takes its time, and happens once in the life of a gateway.
    own = await asyncio.to_thread(
        gateway_identity, config, client.address, client.server_url.port or 0
    )
    client.application_uri = own.application_uri or APPLICATION_URI
    _add_user(client, config)
    discovered = None
    if config.server_cert_file:
        server = pinned_certificate(config)
    else:
        # Their protocol object is of use once; the session gets one of its own.
        asking = await _bare_client(config)
        discovered = await asking.connect_and_get_server_endpoints()
        host = str(client.server_url.hostname)
        server = discovered_certificate(config, discovered, host)
    policy = POLICIES[config.security or ""](
        server, own.certificate, own.key, MODES[config.security_mode]
    )
    client.security_policy = policy
    client.uaclient.set_security(policy)
    client.check = partial(_check, config, discovered, server)
    return client


async def _bare_client(config: OpcuaAccess) -> AddressedClient:
    client = AddressedClient(
        config.endpoint, timeout=config.reply_timeout_ms / 1000, watchdog_intervall=_NEVER_S
    )
    client.address = await resolved(str(client.server_url.hostname))
    client.name = client.description = "Tailrace gateway"
    client.application_uri = APPLICATION_URI
    client.session_timeout = int(LIFETIME_S * 1000)
    return client


def _add_user(client: AddressedClient, config: OpcuaAccess) -> None:
    user = user_identity(config)
    if isinstance(user, str):
        client.set_user(config.user)
        client.set_password(user)
    elif user is not None:
        client.user_certificate, client.user_private_key = user


def _check(
    config: OpcuaAccess,
    discovered: Sequence[ua.EndpointDescription] | None,
    certificate: x509.Certificate | None,
    result: ua.CreateSessionResult,
) -> None:
    check_session(config, result.ServerEndpoints or [], discovered, certificate)


@contextmanager
def as_unavailable(config: OpcuaAccess) -> Iterator[None]:
    """Turn what the library raises into SourceUnavailable with words for an engineer."""
    try:
        yield
    except ERRORS as error:
        # A server's own words may hold bytes that are no text, and that no log could print.
        words = _words(error, config).encode("utf-8", "backslashreplace").decode()
        raise SourceUnavailable(f"{config.endpoint}: {words}") from error


def status_name(code: int) -> str:
    """Return the standard's name of a status code, such as BadNodeIdUnknown."""
    return ua.StatusCode(ua.UInt32(code)).name


def _words(error: Exception, config: OpcuaAccess) -> str:
    text = str(error) or type(error).__name__
    match error:
        case OSError():
            text = _network_words(error, config)
        case UaStatusCodeError():
            name = status_name(error.code)
            text = f"{name}; {_ADVICE[name]}" if name in _ADVICE else name
        case AssertionError() | InvalidSignature() | ForgedMessage():
            text = f"the secure channel was not opened; {_UNTRUSTED}"
            if config.server_cert_file:
                text += "; is server_cert_file the server's own?"
        case _ if "No matching endpoints" in text:
            text = f"does not offer security = {config.security!r}; choose another"
        case _ if isinstance(error, MALFORMED):
            text = (
                f"sent what cannot be understood ({type(error).__name__}: {text}); check that it "
                "is an OPC UA server, and its version"
            )
    return text


def _network_words(error: OSError, config: OpcuaAccess) -> str:
    secured = config.security != "none"
    match error:
        case ConnectionRefusedError():
            return "refused the connection; is the OPC UA server running on this port?"
        case ConnectionError():
            text = f"closed the connection ({error})"
            return f"{text}; if it does so at every attempt, {_UNTRUSTED}" if secured else text
        case TimeoutError():
            text = f"gave no answer within {config.reply_timeout_ms} ms"
            if secured and config.server_cert_file:
                return f"{text}; does it offer {config.security}, and is server_cert_file its own?"
            if secured:
                return f"{text}; does it hold the key of its certificate? {_UNTRUSTED}"
            return text
    return str(error) or type(error).__name__
