"""The asyncua client of one server: its security, and its errors in words."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.client.client import Client
from asyncua.crypto import security_policies, uacrypto
from asyncua.ua.uaerrors import UaError, UaStatusCodeError
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from collectors.opcua.config import OpcuaConfig
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
# TimeoutError and every socket error are OSErrors. An AssertionError without a word is how
# asyncua reports a server that closes the channel because it does not trust our certificate.
ERRORS = (UaError, OSError, AssertionError, ValueError, InvalidSignature)
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


async def new_client(config: OpcuaConfig) -> Client:
    """Return a client that is not connected. Raises one of ERRORS when a file is unusable."""
    client = Client(
        config.endpoint, timeout=config.reply_timeout_ms / 1000, watchdog_intervall=_NEVER_S
    )
    client.name = client.description = "Tailrace gateway"
    client.application_uri = APPLICATION_URI
    client.session_timeout = int(LIFETIME_S * 1000)
    if config.security != "none":
        client.application_uri = _own_uri(await uacrypto.load_certificate(config.cert_file))
        # With the server's certificate given, no endpoint is asked for one unprotected, and
        # only the holder of its key can answer.
        await client.set_security(
            _POLICIES[config.security],
            config.cert_file,
            config.key_file,
            server_certificate=config.server_cert_file,
            mode=ua.MessageSecurityMode.SignAndEncrypt,
        )
    if config.user:
        client.set_user(config.user)
        client.set_password(_password(Path(config.password_file)))
    return client


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
        raise SourceUnavailable(f"{config.endpoint}: {_words(error, config)}") from error


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
        case AssertionError() | InvalidSignature():
            text = f"the secure channel was not opened; {_UNTRUSTED}"
        case ValueError() if secured:
            text = f"certificate, key or password file cannot be used: {text}"
        case _ if "No matching endpoints" in text:
            text = f"does not offer security = {config.security!r}; choose another"
    return text
