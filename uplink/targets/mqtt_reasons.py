"""MQTT 5 reason codes (OASIS MQTT 5.0, 2.4) → what the drain does and what a person reads."""

from common.errors import TargetUnavailable
from uplink.contract import MessageBlamed, TargetBusy, TargetRefused, Verdict

FAILURE = 0x80
"""Codes below it are success; 0x10, no matching subscribers, as well."""

UNSPECIFIED = 0x80
IMPLEMENTATION_SPECIFIC = 0x83
PACKET_ID_IN_USE = 0x91
QUOTA_EXCEEDED = 0x97
RETAIN_NOT_SUPPORTED = 0x9A
QOS_NOT_SUPPORTED = 0x9B

NAMES = {
    0x04: "disconnected with will",
    0x80: "unspecified error",
    0x81: "malformed packet",
    0x82: "protocol error",
    0x83: "implementation specific error",
    0x84: "unsupported protocol version",
    0x85: "client identifier not valid",
    0x86: "bad user name or password",
    0x87: "not authorized",
    0x88: "server unavailable",
    0x89: "server busy",
    0x8A: "banned",
    0x8B: "server shutting down",
    0x8C: "bad authentication method",
    0x8D: "keep alive timeout",
    0x8E: "session taken over",
    0x90: "topic name invalid",
    0x91: "packet identifier in use",
    0x93: "receive maximum exceeded",
    0x95: "packet too large",
    0x96: "message rate too high",
    0x97: "quota exceeded",
    0x98: "administrative action",
    0x99: "payload format invalid",
    0x9A: "retain not supported",
    0x9B: "QoS not supported",
    0x9C: "use another server",
    0x9D: "server moved",
    0x9F: "connection rate exceeded",
    0xA0: "maximum connect time",
}

_VERDICTS = {
    QUOTA_EXCEEDED: Verdict.LATER,
    UNSPECIFIED: Verdict.RETRY,
    IMPLEMENTATION_SPECIFIC: Verdict.RETRY,
    PACKET_ID_IN_USE: Verdict.RETRY,
}

_CONNACK_ADVICE = {
    0x84: "it does not speak MQTT 5, which Tailrace needs to see refusals; use a broker that does",
    0x85: "set another client_id",
    0x86: "check user and password_file",
    0x87: "allow this client (its certificate or user) to connect",
    0x8A: "this client is banned; ask who runs the broker",
    0x8C: "it wants another way to authenticate",
    0x90: "it does not like the topic of our will; allow <enterprise>/<site>/_edge/#",
    0x95: "it does not take our CONNECT packet",
    0x9B: "it takes only QoS 0, which acknowledges nothing; allow QoS 1",
    0x9C: "it sends us to another server; correct host",
    0x9D: "it has moved; correct host",
}
"""Refusals that a person must cure; every other one is waited out."""

_DISCONNECT_ADVICE = {
    0x87: "allow this client to publish",
    0x8E: "another client uses the same client_id; give each gateway its own",
    0x98: "the broker's administrator disconnected this client",
    0x9C: "it sends us to another server; correct host",
    0x9D: "it has moved; correct host",
}

_BUSY = (0x88, 0x89, 0x96, QUOTA_EXCEEDED, 0x9F)
_BLAMES_MESSAGE = (0x81, 0x82, 0x90, 0x95, 0x99)


def named(code: int) -> str:
    """Return `not authorized (0x87)`."""
    return f"{NAMES.get(code, 'unknown reason')} (0x{code:02X})"


def verdict_of(code: int) -> Verdict:
    """Return what the reason code of a PUBACK means for its message."""
    return Verdict.TAKEN if code < FAILURE else _VERDICTS.get(code, Verdict.NEVER)


def refused_connection(place: str, code: int, more: str) -> TargetUnavailable:
    """Return what a CONNACK with a failure means. `more` is the broker's own text, if any."""
    text = f"{place} refused the connection: {named(code)}{_quoted(more)}"
    if code in _CONNACK_ADVICE:
        return TargetRefused(f"{text}; {_CONNACK_ADVICE[code]}")
    return TargetBusy(text) if code in _BUSY else TargetUnavailable(text)


def disconnected(place: str, code: int, more: str) -> TargetUnavailable:
    """Return what a DISCONNECT from the broker means."""
    text = f"{place} disconnected us: {named(code)}{_quoted(more)}"
    if code in _DISCONNECT_ADVICE:
        return TargetRefused(f"{text}; {_DISCONNECT_ADVICE[code]}")
    if code in _BLAMES_MESSAGE:
        return MessageBlamed(text)
    return TargetBusy(text) if code in _BUSY else TargetUnavailable(text)


def _quoted(more: str) -> str:
    return f" ({more[:200]})" if more else ""
