"""Why a Kafka cluster did not take something: librdkafka's errors as verdicts and as sentences.

Every error ends the connection: nothing of the same key may be taken after what was refused. What
differs is who must act, and whether one of the messages is to blame.
"""

import re
import socket
import ssl
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import KafkaError

from common.errors import TargetUnavailable
from uplink.contract import MessageBlamed, TargetBusy, TargetRefused
from uplink.settings import TargetSettings
from uplink.targets.kafka_config import kafka_config


class Local(IntEnum):
    """Errors of librdkafka's own, below 0 (rdkafka.h, rd_kafka_resp_err_t)."""

    RESOLVE = -193
    UNKNOWN_PARTITION = -190
    UNKNOWN_TOPIC = -188
    ALL_BROKERS_DOWN = -187
    SSL = -181
    AUTHENTICATION = -169
    UNSUPPORTED_FEATURE = -165
    PURGE_QUEUE = -152
    PURGE_INFLIGHT = -151
    FATAL = -150


CONSEQUENCES = frozenset(
    {
        Local.PURGE_QUEUE,
        Local.PURGE_INFLIGHT,
        Local.FATAL,
        KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
    }
)
"""What the messages behind a failure fail of."""
TELLING = frozenset({Local.SSL, Local.AUTHENTICATION})
"""What says more than that a connection was lost."""
PROBE_TIMEOUT_S = 2.0
"""For each of connecting and shaking hands once more, to read why a certificate is refused."""

BLAMED = {
    KafkaError.MSG_SIZE_TOO_LARGE: "larger than the topic takes (max.message.bytes)",
    KafkaError.INVALID_MSG: "the broker found it damaged, or without the key that a compacted "
    "topic demands",
    KafkaError.INVALID_MSG_SIZE: "the broker does not accept its size",
    KafkaError.INVALID_RECORD: "the broker does not accept the record",
    KafkaError.INVALID_TIMESTAMP: "the broker does not accept its time",
    KafkaError.RECORD_LIST_TOO_LARGE: "larger than a segment of the topic (segment.bytes)",
}
"""The broker names no message: the whole batch fails with the code."""

_REFUSED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: (
        "may not write to topic {topic}: grant Describe and Write to {who}"
    ),
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: (
        "may not use an idempotent producer: grant IdempotentWrite on the cluster (brokers before "
        "2.8), or Write on topic {topic}, to {who}"
    ),
    KafkaError.UNKNOWN_TOPIC_OR_PART: "there is no topic {topic}: create it",
    Local.UNKNOWN_TOPIC: "there is no topic {topic} any more: create it",
    Local.UNKNOWN_PARTITION: "topic {topic} has fewer partitions than before",
    KafkaError.TOPIC_EXCEPTION: "the cluster does not accept the name of topic {topic}",
    KafkaError.POLICY_VIOLATION: "a policy of the cluster forbids it for topic {topic}",
    KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT: (
        "topic {topic} keeps an old message format: set its message.format.version to 2.0 or newer"
    ),
    KafkaError.UNSUPPORTED_COMPRESSION_TYPE: (
        "the brokers do not know this compression: choose another one"
    ),
    Local.UNSUPPORTED_FEATURE: "the brokers are older than Kafka 0.11: update them",
    KafkaError.SASL_AUTHENTICATION_FAILED: "user or password is wrong: see user, password_file",
    Local.AUTHENTICATION: "user or password is wrong: see user, password_file and sasl",
    KafkaError.UNSUPPORTED_SASL_MECHANISM: "the brokers do not offer sasl = {sasl}",
}
_BUSY = {KafkaError.THROTTLING_QUOTA_EXCEEDED}
_TLS = (
    (
        ("alert certificate required",),
        "the broker requires a client certificate and got none; set cert_file and key_file",
    ),
    (
        ("alert unknown ca",),
        "the broker does not know the authority that signed our certificate (cert_file)",
    ),
    (
        ("alert certificate expired",),
        "the broker says that our certificate (cert_file) has expired; renew it",
    ),
    (
        ("alert certificate revoked",),
        "the broker says that our certificate (cert_file) was revoked; get another",
    ),
    (
        ("alert bad certificate", "alert certificate unknown", "alert unsupported certificate"),
        "the broker does not accept our certificate (cert_file)",
    ),
    (
        ("alert access denied",),
        "the broker knows our certificate (cert_file) but denies access",
    ),
    (
        ("alert handshake failure", "alert protocol version", "unsupported protocol"),
        (
            "no TLS in common: the broker may speak TLS 1.2 alone (enable 1.3 there, or set "
            'tls_min = "1.2"), or want a client certificate'
        ),
    ),
    (
        ("PLAINTEXT broker listener", "wrong version number", "packet length too long"),
        "the broker does not speak TLS on this port; use the listener that does",
    ),
)
"""Marks in OpenSSL's texts → what a person can do. In TLS 1.3 the broker's refusal of our
certificate comes with the first read, as a lost connection."""
_PLACE = re.compile(
    r"^(?:[a-z_]+://)?(?P<host>\[[^]]+\]|[^:/]+):(?P<port>\d+)/\w+: (?P<text>.*?)"
    r"(?: \(after \d+ms in state (?P<state>\w+).*)?$",
    re.DOTALL,
)


class Place(NamedTuple):
    """Which broker an error tells of, and what it says."""

    host: str
    port: int
    text: str
    state: str
    """Of the connection, as librdkafka names it; empty when it does not say."""

    def __str__(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"


def place_of(text: str) -> Place | None:
    """Return what `scheme://host:port/id: text` tells, None for other texts."""
    found = _PLACE.match(text)
    if found is None:
        return None
    return Place(found["host"], int(found["port"]), found["text"], found["state"] or "")


def blamed(error: KafkaError) -> bool:
    """Return whether the error is about one of the messages in its batch."""
    return error.code() in BLAMED


def refused_message(error: KafkaError) -> str:
    """Return why one message is never taken, for a person."""
    return f"{BLAMED[error.code()]} ({error.name()})"


def explained(error: KafkaError, settings: TargetSettings) -> TargetUnavailable:
    """Return the error as a sentence, and as what the runner does next.

    For a certificate that is not accepted it connects once more, 2 * PROBE_TIMEOUT_S at most.
    """
    config, code = kafka_config(settings), error.code()
    place = place_of(error.str())
    where = str(place) if place else config.place
    if code == Local.AUTHENTICATION and "Unsupported SASL mechanism" in error.str():
        code = KafkaError.UNSUPPORTED_SASL_MECHANISM
    if code in _REFUSED:
        who = config.user or "the gateway's certificate"
        text = _REFUSED[code].format(topic=config.topic, who=who, sasl=config.sasl)
        detail = f" ({place.text})" if place else ""
        return TargetRefused(f"{where}: {text}{detail}")
    if blamed(error):
        return MessageBlamed(f"{where}: a message of a batch was refused: {refused_message(error)}")
    if code in _BUSY:
        return TargetBusy(f"{where}: the quota of this client is used up")
    if place is not None:
        return _from_network(error, place, settings)
    return TargetUnavailable(f"{where}: {error.str()} ({error.name()})")


def _from_network(error: KafkaError, place: Place, settings: TargetSettings) -> TargetUnavailable:
    text = place.text
    if error.code() == Local.RESOLVE:
        return TargetUnavailable(
            f"the name {place.host} cannot be resolved; check bootstrap_servers, the brokers' "
            "advertised.listeners, and the gateway's name server"
        )
    if "certificate verify failed" in text:
        return TargetRefused(f"{place}: {_unverified(place, settings)}")
    for marks, sentence in _TLS:
        if any(mark in text for mark in marks):
            return TargetRefused(f"{place}: {sentence}")
    if "refused" in text:
        return TargetUnavailable(
            f"{place} refused the connection: nothing listens there; is the broker up, are the "
            "names and ports right?"
        )
    if place.state == "SSL_HANDSHAKE" and "closed by peer" in text:
        text = f"hung up in the TLS handshake; does this listener speak TLS? ({text})"
    if place.state == "APIVERSION_QUERY" and kafka_config(settings).security == "plaintext":
        text = f"hung up on our first request; does this listener want TLS? ({text})"
    return TargetUnavailable(f"{place}: {text}")


def _unverified(place: Place, settings: TargetSettings) -> str:
    """Return why the broker's certificate is refused: librdkafka does not say, so we look."""
    trusted: Path | str = settings.ca_file or "the operating system's authorities"
    context = ssl.create_default_context(cafile=settings.ca_file)
    try:
        with (
            socket.create_connection((place.host, place.port), PROBE_TIMEOUT_S) as connection,
            context.wrap_socket(connection, server_hostname=place.host.strip("[]")),
        ):
            detail = "it is now"
    except ssl.SSLCertVerificationError as error:
        detail = error.verify_message
    except (OSError, ValueError):
        detail = ""
    detail = f": {detail.rstrip('.')}" if detail else ""
    return (
        f"the broker's certificate is not accepted{detail}; it must be signed by an authority in "
        f"{trusted} (ca_file) and carry the name {place.host}"
    )
