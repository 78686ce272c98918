"""The asyncua client of one server: its security, and its errors in words."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.client.client import Client
from asyncua.crypto import security_policies, uacrypto
from asyncua.ua.uaerrors import UaError, UaStatusCodeError
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa

from collectors.opcua.config import PEM_MARK, OpcuaConfig
from collectors.resolving import resolved
from common.errors import SourceUnavailable

LIFETIME_S = 60.0
"""After this long without us the server forgets subscription and session; both are scarce."""
APPLICATION_URI = "urn:tailrace:gateway"

_NEVER_S = 86_400.0
"""Of asyncua's watchdog: it declares a busy server dead; device.py has its own."""

_POLICIES: dict[str, Any] = {
    "basic256sha256": security_policies.SecurityPolicyBasic256Sha256,
    "aes128_sha256_rsaoaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "aes256_sha256_rsapss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}
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
_UNTRUSTED = "trust the gateway's certificate on the server, and check server_cert_file"
_ADVICE = {
    "BadCertificateUntrusted": _UNTRUSTED,
    "BadSecurityChecksFailed": _UNTRUSTED,
    "BadCertificateUriInvalid": "the certificate's URI must be the one the server expects",
    "BadUserAccessDenied": "check user and password_file, and the user's rights on the server",
    "BadIdentityTokenRejected": "check user and password_file",
    "BadIdentityTokenInvalid": "check user and password_file; anonymous may not be allowed",
    "BadTooManySessions": "the server has no session free; close unused clients",
}


class AddressedClient(Client):
    """A client that connects to an address, and speaks to the server by the endpoint's name."""

    address = ""

    async def connect_socket(self) -> None:
        """Open the connection. The look-up of a name could not be bounded here."""
        await self.uaclient.connect_socket(self.address, self.server_url.port or 0)


async def new_client(config: OpcuaConfig) -> Client:
    """Return a client that is not connected.

    Raises SourceUnavailable when the name does not resolve, or a file is unusable.
    """
    client = AddressedClient(
        config.endpoint, timeout=config.reply_timeout_ms / 1000, watchdog_intervall=_NEVER_S
    )
    client.address = await resolved(str(client.server_url.hostname))
    client.name = client.description = "Tailrace gateway"
    client.application_uri = APPLICATION_URI
    client.session_timeout = int(LIFETIME_S * 1000)
    try:
        await _secure(client, config)
    except ERRORS as error:
        # The text of a library may quote what it read; its first line says enough.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise SourceUnavailable(
            f"{config.endpoint}: certificate, key or password file cannot be used: {reason}; "
            "a key needs RSA and no passphrase (openssl pkey -in KEY -out KEY removes it)"
        ) from error
    return client


async def _secure(client: Client, config: OpcuaConfig) -> None:
    if config.security != "none":
        own, key, server = map(
            _loadable, (config.cert_file, config.key_file, config.server_cert_file)
        )
        certificate = await uacrypto.load_certificate(own.path_or_content, own.extension)
        client.application_uri = _own_uri(certificate)
        await _check_kinds(certificate, key, server)
        # With the server's certificate given, no endpoint is asked for one unprotected, and
        # only the holder of its key can answer.
        await client.set_security(
            _POLICIES[config.security],
            own,
            key,
            server_certificate=server,
            mode=ua.MessageSecurityMode.SignAndEncrypt,
        )
    if config.user:
        client.set_user(config.user)
        client.set_password(_password(Path(config.password_file)))


async def _check_kinds(
    certificate: x509.Certificate, key: uacrypto.CertProperties, server: uacrypto.CertProperties
) -> None:
    """Raise ValueError for keys that every policy here would stumble over later."""
    private = await uacrypto.load_private_key(key.path_or_content, None, key.extension)
    theirs = await uacrypto.load_certificate(server.path_or_content, server.extension)
    if not isinstance(private, rsa.RSAPrivateKey):
        raise ValueError("key_file holds no RSA key")  # noqa: TRY004 - of a file, not an argument
    if private.public_key() != certificate.public_key():
        raise ValueError("key_file is not the key of cert_file")
    if not isinstance(theirs.public_key(), rsa.RSAPublicKey):
        raise ValueError("the key of server_cert_file is not RSA")  # noqa: TRY004 - the same


def _loadable(name: str) -> uacrypto.CertProperties:
    """Return a file's content and kind; asyncua would go by the name, and take .key for DER."""
    content = Path(name).read_bytes()
    return uacrypto.CertProperties(content, "pem" if PEM_MARK in content else "der")


def _password(path: Path) -> str:
    return path.read_text(encoding="utf-8").rstrip("\r\n")


def _own_uri(certificate: x509.Certificate) -> str:
    """Return the application URI of our certificate; servers compare it with what we claim."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return APPLICATION_URI
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0] if uris else APPLICATION_URI


@contextmanager
def as_unavailable(config: OpcuaConfig) -> Iterator[None]:
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


def _words(error: Exception, config: OpcuaConfig) -> str:
    secured = config.security != "none"
    text = str(error) or type(error).__name__
    match error:
        case ConnectionRefusedError():
            text = "refused the connection; is the OPC UA server running on this port?"
        case TimeoutError():
            text = f"gave no answer within {config.reply_timeout_ms} ms"
            if secured:
                text += f"; does it offer {config.security}, and is server_cert_file its own?"
        case UaStatusCodeError():
            name = status_name(error.code)
            text = f"{name}; {_ADVICE[name]}" if name in _ADVICE else name
        case AssertionError() | InvalidSignature() | ForgedMessage():
            text = f"the secure channel was not opened; {_UNTRUSTED}"
        case _ if "No matching endpoints" in text:
            text = f"does not offer security = {config.security!r}; choose another"
        case _ if isinstance(error, MALFORMED):
            text = (
                f"sent what cannot be understood ({type(error).__name__}: {text}); check that it "
                "is an OPC UA server, and its version"
            )
    return text
