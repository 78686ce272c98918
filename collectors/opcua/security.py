"""Who we are to a server, and whether it is the one we mean, before anything secret is said.

discovery (unprotected)   gives a certificate and nothing else: policy and mode are configured
judge                     the certificate is trusted, or the connection is not even opened
secure channel            only the holder of that certificate's key can answer
CreateSession (signed)    must describe the endpoints as the discovery did, name the application
                          that the certificate names, and offer a safe way to name a user
ActivateSession           now a password or a user's signature is sent
"""

import socket
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from asyncua import ua
from asyncua.crypto import security_policies
from cryptography import x509

from collectors.opcua.certificate import (
    WARN_DAYS,
    Identity,
    certificates_in,
    days_left,
    described,
    fingerprint,
    identity_in,
    own_identity,
    time_fault,
)
from collectors.opcua.config import OpcuaAccess
from collectors.opcua.trustlist import TrustList
from collectors.opcua.verification import Trust, Unknown, judge, judge_application_uri
from common.errors import SourceUnavailable
from common.log import get_log

TRUST_COMMAND = "tailrace trust"
"""Shows the trust list and changes it (trust.py)."""
POLICIES: dict[str, Any] = {
    "basic256sha256": security_policies.SecurityPolicyBasic256Sha256,
    "aes128_sha256_rsaoaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "aes256_sha256_rsapss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}
MODES = {
    "sign": ua.MessageSecurityMode.Sign,
    "sign_and_encrypt": ua.MessageSecurityMode.SignAndEncrypt,
}
_ENCRYPTING = frozenset(policy.URI for policy in POLICIES.values())
_TOKEN_NAMES = {
    ua.UserTokenType.Anonymous: "anonymous",
    ua.UserTokenType.UserName: "user and password",
    ua.UserTokenType.Certificate: "user certificate",
    ua.UserTokenType.IssuedToken: "token of another service",
}

_KEY_ADVICE = "; a key needs RSA and no passphrase (openssl pkey -in KEY -out KEY removes it)"

log = get_log(__name__)


class Offer(NamedTuple):
    """One way to connect, as a server describes it: what must be the same when asked again."""

    mode: ua.MessageSecurityMode
    policy: str
    tokens: frozenset[tuple[ua.UserTokenType, str]]

    def __str__(self) -> str:
        """Return `Basic256Sha256 SignAndEncrypt (anonymous)`."""
        tokens = ", ".join(sorted({_TOKEN_NAMES.get(kind, "?") for kind, _ in self.tokens}))
        return f"{self.policy.rpartition('#')[2]} {self.mode.name.rstrip('_')} ({tokens})"


def gateway_identity(config: OpcuaAccess, server_address: str, port: int) -> Identity:
    """Return the certificate and key that we show. Raises SourceUnavailable, says what to do.

    The files are read at every connect, so that a renewed certificate needs no restart.
    """
    try:
        if config.cert_file:
            identity = identity_in(Path(config.cert_file), Path(config.key_file))
        else:
            identity = own_identity(_state_dir(config), _local_address(server_address, port))
    except OSError as error:
        raise _unavailable(
            config,
            f"the gateway's own certificate cannot be read or kept ({error}); the user that runs "
            "the collector must be able to write there",
        ) from error
    except ValueError as error:
        raise _unavailable(
            config, f"certificate or key cannot be used: {error}{_KEY_ADVICE}"
        ) from error
    if fault := time_fault(identity.certificate, "the gateway's own certificate"):
        how = f"make a new one: {TRUST_COMMAND} renew" if not config.cert_file else "renew it"
        raise _unavailable(config, f"{fault}; {how}, and trust it at the server")
    _warn_of_expiry(config, identity.certificate, "the gateway's own certificate")
    return identity


def user_identity(config: OpcuaAccess) -> Identity | str | None:
    """Return the user's certificate and key, or password, or None for an anonymous session."""
    try:
        if config.user_cert_file:
            return identity_in(Path(config.user_cert_file), Path(config.user_key_file))
        if config.user:
            return Path(config.password_file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        # What a password file holds is never quoted, not even the byte that is no text.
        reason = "is no UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise _unavailable(
            config,
            f"the user's certificate, key or password file cannot be used: {reason}{_KEY_ADVICE}",
        ) from error
    return None


def pinned_certificate(config: OpcuaAccess) -> x509.Certificate:
    """Return what server_cert_file holds, if it may be used. Raises SourceUnavailable."""
    try:
        chain = certificates_in(Path(config.server_cert_file).read_bytes())
    except (OSError, ValueError) as error:
        text = f"certificate in server_cert_file cannot be used: {error}"
        raise _unavailable(config, text) from error
    return _judged(config, chain, Trust(device=chain[:1]))


def discovered_certificate(
    config: OpcuaAccess, endpoints: Sequence[ua.EndpointDescription], host: str
) -> x509.Certificate:
    """Return the certificate that the server shows for what is configured, if it is trusted.

    One that is not known is kept in rejected/. Raises SourceUnavailable that says what to do.
    """
    wanted = (MODES[config.security_mode], POLICIES[config.security or ""].URI)
    fitting = [each for each in endpoints if (each.SecurityMode, each.SecurityPolicyUri) == wanted]
    if not fitting:
        offers = "; ".join(sorted({str(offer) for offer in offers_of(endpoints)})) or "nothing"
        raise _unavailable(
            config,
            f"does not offer security = {config.security!r} with security_mode = "
            f"{config.security_mode!r}, but: {offers}; enable it at the server, or choose another",
        )
    try:
        chain = certificates_in(fitting[0].ServerCertificate or b"")
    except ValueError as error:
        raise _unavailable(config, "shows a certificate that cannot be read") from error
    return _judged(config, chain, _trust(config), host)


def offers_of(endpoints: Iterable[ua.EndpointDescription]) -> set[Offer]:
    """Return what endpoints say of security; those of other transports are left out."""
    return {
        Offer(
            each.SecurityMode,
            each.SecurityPolicyUri or "",
            frozenset(
                (token.TokenType, token.SecurityPolicyUri or "")
                for token in each.UserIdentityTokens or []
            ),
        )
        for each in endpoints
        if (each.EndpointUrl or "").startswith("opc.tcp:")
    }


def check_session(
    config: OpcuaAccess,
    described_now: Sequence[ua.EndpointDescription],
    discovered: Sequence[ua.EndpointDescription] | None,
    certificate: x509.Certificate | None,
) -> None:
    """Raise SourceUnavailable when a session must not be used, before a user is named.

    `described_now` came over the secure channel, `discovered` before it, where anybody could have
    changed it (OPC 10000-4, 5.7.2.2): what differs says that somebody is in between.
    """
    if discovered is not None and offers_of(discovered) != (now := offers_of(described_now)):
        changed = "; ".join(sorted(map(str, offers_of(discovered) ^ now)))
        raise _unavailable(
            config,
            "describes other endpoints inside the secure channel than outside of it: somebody on "
            f"the network may have changed the answer ({changed}); look for what stands between, "
            "or name the server's certificate with server_cert_file, which asks nobody",
        )
    endpoint = _own_endpoint(config, described_now)
    if certificate is not None and endpoint is not None:
        uri = endpoint.Server.ApplicationUri or "" if endpoint.Server else ""
        try:
            _log_accepted(config, judge_application_uri(certificate, uri, config.accept))
        except ValueError as error:
            raise _unavailable(config, str(error)) from error
    _check_user(config, endpoint)


def _own_endpoint(
    config: OpcuaAccess, endpoints: Sequence[ua.EndpointDescription]
) -> ua.EndpointDescription | None:
    mode, policy = ua.MessageSecurityMode.None_, security_policies.SecurityPolicyNone
    if config.security != "none":
        mode, policy = MODES[config.security_mode], POLICIES[config.security or ""]
    for each in endpoints:
        if each.SecurityMode == mode and each.SecurityPolicyUri == policy.URI:
            return each
    return None


def _check_user(config: OpcuaAccess, endpoint: ua.EndpointDescription | None) -> None:
    """Raise SourceUnavailable when the server does not take our kind of user, or not safely."""
    kind = ua.UserTokenType.Anonymous
    if config.user:
        kind = ua.UserTokenType.UserName
    elif config.user_cert_file:
        kind = ua.UserTokenType.Certificate
    tokens = (endpoint.UserIdentityTokens if endpoint else None) or []
    token = next((each for each in tokens if each.TokenType == kind), None)
    if token is None and (tokens or kind != ua.UserTokenType.Anonymous):
        offered = ", ".join(sorted({_TOKEN_NAMES.get(each.TokenType, "?") for each in tokens}))
        raise _unavailable(
            config,
            f"does not take a session as {_TOKEN_NAMES[kind]} here, but: {offered or 'nothing'}; "
            "set user and password_file, or user_cert_file and user_key_file, or allow it there",
        )
    encrypted = config.security_mode == "sign_and_encrypt"
    policy = token.SecurityPolicyUri if token else None
    if config.user and not encrypted and policy and policy not in _ENCRYPTING:
        raise _unavailable(
            config,
            'wants the password unprotected, and security_mode = "sign" does not encrypt it; '
            'set security_mode = "sign_and_encrypt"',
        )


def _judged(
    config: OpcuaAccess, chain: Sequence[x509.Certificate], trust: Trust, host: str = ""
) -> x509.Certificate:
    leaf = chain[0]
    try:
        let_pass = judge(chain, trust, host, config.accept)
    except Unknown as error:
        raise _unavailable(config, _first_contact(config, leaf)) from error
    except ValueError as error:
        raise _unavailable(config, f"{error} ({described(leaf)})") from error
    _log_accepted(config, let_pass)
    _warn_of_expiry(config, leaf, "the server's certificate")
    return leaf


def _first_contact(config: OpcuaAccess, leaf: x509.Certificate) -> str:
    """Keep an unknown certificate, and return how a person comes to trust it."""
    try:
        TrustList(_state_dir(config)).reject(config.device, leaf)
    except OSError as error:
        reason = f"the gateway's own state cannot be written ({error})"
        raise _unavailable(config, reason) from error
    shown = fingerprint(leaf)
    return (
        f"presented an unknown certificate: {described(leaf)}, SHA-256 {shown}; compare this "
        f"fingerprint with the one that the server itself shows, and only if they are the same: "
        f"{TRUST_COMMAND} accept {config.device} {shown}"
    )


def _trust(config: OpcuaAccess) -> Trust:
    listed = TrustList(_state_dir(config))
    try:
        return Trust(
            listed.trusted(config.device),
            listed.anchors(),
            listed.issuers(),
            listed.revocation_lists(),
        )
    except (OSError, ValueError) as error:
        raise _unavailable(config, f"the trust list cannot be read: {error}") from error


def _state_dir(config: OpcuaAccess) -> Path:
    if config.state_dir is None:
        raise _unavailable(
            config, "has no folder for certificates here; set cert_file, key_file, server_cert_file"
        )
    return config.state_dir


def _local_address(address: str, port: int) -> str:
    """Return our address on the way to the server, empty when there is no way. Sends nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, port))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def _unavailable(config: OpcuaAccess, text: str) -> SourceUnavailable:
    return SourceUnavailable(f"{config.endpoint}: {text}")


def _warn_of_expiry(config: OpcuaAccess, certificate: x509.Certificate, whose: str) -> None:
    if 0 <= days_left(certificate) < WARN_DAYS:
        until = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
        say_once(config.device, f"{whose} ends on {until}; renew it before", warn=True)


def _log_accepted(config: OpcuaAccess, let_pass: Iterable[str]) -> None:
    for text in let_pass:
        say_once(config.device, f"let pass, as `accept` says: {text}", warn=True)


@lru_cache(maxsize=1_000)
def say_once(device: str, text: str, *, warn: bool) -> None:
    """Log a sentence once in the life of a process, however often a device is connected to."""
    (log.warning if warn else log.info)(text, device=device)
