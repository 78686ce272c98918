"""MQTT 5 reason codes (OASIS MQTT 5.0, table 2-6) → what the drain does and what a person reads.

    CONNACK, SUBACK, DISCONNECT                            the connection is …
        a person must act     TargetRefused                tried again after 5 s … 5 min
        too much to do        TargetBusy                   after 0.5 s … 60 s, ever more rarely
        a message is blamed   MessageBlamed                at once, one message at a time
        it sends us away      TargetRedirected             tried where it says, if we may
        any other             TargetUnavailable            after 0.5 s … 60 s
    PUBACK                                                 the message is …
        below 0x80            TAKEN                        delivered
        quota, busy           LATER                        tried again as often as it takes
        without a reason      RETRY                        tried again a few times
        any other             NEVER                        set aside

A code that the standard does not give to a packet is judged by its meaning all the same: brokers
send 0x95 in a PUBACK.
"""

from common.errors import TargetUnavailable
from uplink.contract import MessageBlamed, TargetBusy, TargetRefused, Verdict


class TargetRedirected(TargetRefused):
    """It sends us to another server. `reference` says where, empty when it does not."""

    def __init__(self, text: str, reference: str) -> None:
        super().__init__(text)
        self.reference = reference


FAILURE = 0x80
"""Codes below it are success; 0x10, no matching subscribers, as well."""

UNSPECIFIED = 0x80
IMPLEMENTATION_SPECIFIC = 0x83
NOT_AUTHORIZED = 0x87
TAKEN_OVER = 0x8E
PACKET_ID_IN_USE = 0x91
TOPIC_ALIAS_INVALID = 0x94
QUOTA_EXCEEDED = 0x97
RETAIN_NOT_SUPPORTED = 0x9A
QOS_NOT_SUPPORTED = 0x9B
SERVER_MOVED = 0x9D

NAMES = {
    0x00: "success",
    0x01: "granted QoS 1",
    0x02: "granted QoS 2",
    0x04: "disconnected with will",
    0x10: "no matching subscribers",
    0x11: "no subscription existed",
    0x18: "continue authentication",
    0x19: "re-authenticate",
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
    0x8F: "topic filter invalid",
    0x90: "topic name invalid",
    0x91: "packet identifier in use",
    0x92: "packet identifier not found",
    0x93: "receive maximum exceeded",
    0x94: "topic alias invalid",
    0x95: "packet too large",
    0x96: "message rate too high",
    0x97: "quota exceeded",
    0x98: "administrative action",
    0x99: "payload format invalid",
    0x9A: "retain not supported",
    0x9B: "QoS not supported",
    0x9C: "use another server",
    0x9D: "server moved",
    0x9E: "shared subscriptions not supported",
    0x9F: "connection rate exceeded",
    0xA0: "maximum connect time",
    0xA1: "subscription identifiers not supported",
    0xA2: "wildcard subscriptions not supported",
}

_BUSY = (0x88, 0x89, 0x96, QUOTA_EXCEEDED, 0x9F)
_ELSEWHERE = (0x9C, SERVER_MOVED)
_BLAMES_MESSAGE = (0x81, 0x82, 0x90, 0x95, 0x99)

_VERDICTS = {
    **dict.fromkeys(_BUSY, Verdict.LATER),
    UNSPECIFIED: Verdict.RETRY,
    IMPLEMENTATION_SPECIFIC: Verdict.RETRY,
    PACKET_ID_IN_USE: Verdict.RETRY,
}

_CONNACK_ADVICE = {
    0x81: "it cannot read our CONNECT; is it a broker, and of which MQTT? Try another mqtt_version",
    0x82: "it does not like our CONNECT; try another mqtt_version",
    0x84: "it does not speak the MQTT that mqtt_version asks for: set another, or use a broker "
    "that speaks MQTT 5, in which alone it can say why it refuses a message",
    0x85: "set another client_id",
    0x86: "check user and password_file",
    NOT_AUTHORIZED: "allow this client (its certificate or user) to connect",
    0x8A: "this client is banned; ask who runs the broker",
    0x8C: "it wants another way to authenticate",
    0x90: "it does not like the topic of our will; allow <enterprise>/<site>/_edge/#",
    0x95: "it does not take our CONNECT packet",
    0x99: "it does not like the payload of our will; allow JSON on <enterprise>/<site>/_edge/#",
    RETAIN_NOT_SUPPORTED: "it refuses a will that is not retained, too; ask who runs the broker",
    QOS_NOT_SUPPORTED: "it takes only QoS 0, which acknowledges nothing; allow QoS 1",
}
"""Refusals that a person must cure; every other one is waited out."""

_DISCONNECT_ADVICE = {
    NOT_AUTHORIZED: "allow this client to publish",
    0x8A: "this client is banned; ask who runs the broker",
    0x8C: "it wants another way to authenticate",
    0x98: "the broker's administrator disconnected this client",
    QOS_NOT_SUPPORTED: "it takes only QoS 0, which acknowledges nothing; allow QoS 1",
}

_SUBACK_ADVICE = "allow it for this client"
_PASSING = (UNSPECIFIED, IMPLEMENTATION_SPECIFIC, PACKET_ID_IN_USE)

_OF_3_1_1 = {1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: NOT_AUTHORIZED}
"""Return codes of a CONNACK of MQTT 3.1.1 (3.2.2.3)."""


def reason_of(connack: int, mqtt_version: str) -> int:
    """Return the reason code of a CONNACK, whatever version it is of."""
    return connack if mqtt_version == "5" else _OF_3_1_1.get(connack, connack)


def named(code: int) -> str:
    """Return `not authorized (0x87)`."""
    return f"{NAMES.get(code, 'unknown reason')} (0x{code:02X})"


def verdict_of(code: int) -> Verdict:
    """Return what the reason code of a PUBACK means for its message."""
    return Verdict.TAKEN if code < FAILURE else _VERDICTS.get(code, Verdict.NEVER)


def refused_connection(place: str, code: int, more: str, reference: str = "") -> TargetUnavailable:
    """Return what a CONNACK with a failure means.

    `more` is the broker's own text and `reference` the server that it names, if any.
    """
    text = f"{place} refused the connection: {named(code)}{_quoted(more)}"
    if code in _ELSEWHERE:
        return _elsewhere(text, reference)
    if code in _CONNACK_ADVICE:
        return TargetRefused(f"{text}; {_CONNACK_ADVICE[code]}")
    return TargetBusy(text) if code in _BUSY else TargetUnavailable(text)


def refused_subscription(place: str, topic: str, code: int) -> TargetUnavailable:
    """Return what a SUBACK with a failure means."""
    text = f"{place} refused to let us subscribe to {topic}: {named(code)}"
    if code in _BUSY:
        return TargetBusy(text)
    if code in _PASSING:
        return TargetUnavailable(text)
    return TargetRefused(f"{text}; {_SUBACK_ADVICE}")


def disconnected(place: str, code: int, more: str, reference: str = "") -> TargetUnavailable:
    """Return what a DISCONNECT from the broker means, for one that says it the first time.

    What only the past of a connection shows is mqtt_endings' to judge.
    """
    text = f"{place} disconnected us: {named(code)}{_quoted(more)}"
    if code in _ELSEWHERE:
        return _elsewhere(text, reference)
    if code in _DISCONNECT_ADVICE:
        return TargetRefused(f"{text}; {_DISCONNECT_ADVICE[code]}")
    if code in _BLAMES_MESSAGE:
        return MessageBlamed(text)
    return TargetBusy(text) if code in _BUSY else TargetUnavailable(text)


def _elsewhere(text: str, reference: str) -> TargetRedirected:
    where = f"to {reference[:200]}" if reference else "to another server and does not say which"
    return TargetRedirected(
        f'{text}: it sends us {where}; correct host, or set redirects to "follow"', reference
    )


def _quoted(more: str) -> str:
    return f" ({more[:200]})" if more else ""
