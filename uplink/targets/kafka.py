"""One topic of a Kafka cluster: the modules named kafka… alone know confluent_kafka.

One idempotent producer of librdkafka per connection, acks=all. The UNS path becomes the key, what
is said beside the payload becomes headers, `retain` and `expiry_s` mean nothing to a log.

Promise
    At least once. Of one key, first arrivals stand in the partition in the order published, over
    errors, reconnects and kills: the brokers check the producer's sequence numbers, librdkafka
    retries what may be retried for as long as the connection lasts, and whatever it cannot deliver
    is fatal to the producer (`enable.gapless.guarantee`), so that nothing behind it is taken. The
    drain then publishes everything that has no answer again, in order, by a new producer.
    A repeat has the payload, and so the id, of the first; it may stand behind newer messages of
    its key, when the cluster still works on what an abandoned producer had sent.

Limits
    `in_flight_max` messages, IN_FLIGHT_BYTES_MAX of them. librdkafka runs its own threads; its
    callbacks run inside `exchange`, in ours.
"""

import logging
from collections.abc import Callable
from typing import Any

from uplink.contract import Foreseen, TargetRefused
from uplink.expiry import Outlook, foreseen_of
from uplink.renewal import Renewal
from uplink.settings import TargetSettings
from uplink.surroundings import Surroundings
from uplink.targets.kafka_config import client_id, kafka_config
from uplink.targets.kafka_connection import KafkaConnection

MAX_IN_FLIGHT = 5
"""Requests per broker: the most for which brokers keep sequence numbers (KIP-98, KAFKA-5494)."""
TLS_1_3_ALONE = "PSK-AES256-GCM-SHA384"
"""librdkafka has no setting for the lowest TLS. These are the ciphers of TLS 1.2 that it may offer,
and OpenSSL offers this one only with a pre-shared key, which there is not; those of TLS 1.3 are
not chosen by this list. A broker without 1.3 finds nothing in common."""

_SILENT = logging.getLogger("uplink.librdkafka")
"""librdkafka would write to standard error; what it says comes as events as well."""
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


def build_target(settings: TargetSettings, surroundings: Surroundings) -> "KafkaTarget":
    """Return the far side of one [targets.NAME] with kind = "kafka"."""
    return KafkaTarget(settings, surroundings.identity.edge)


class KafkaTarget:
    """One topic of one cluster."""

    def __init__(self, settings: TargetSettings, edge: str) -> None:
        """`edge` is the branch in which the gateway speaks of itself: its paths are whole keys."""
        self._settings = settings
        self._config = kafka_config(settings)
        self._edge = edge
        self._outlook = Outlook(settings)
        self._renewal = Renewal(settings, lambda: _producer_settings(settings))

    @property
    def address(self) -> str:
        """`host:port` of the brokers asked first."""
        return self._config.place

    def connect(self, waiting: Callable[[], None]) -> KafkaConnection:
        """Open a producer, wait for the topic. Raises TargetUnavailable or TargetRefused."""
        connection = KafkaConnection(self._settings, self._edge, self._renewal.current())
        welcome = False
        try:
            connection.wait_for_topic(waiting)
            welcome = True
        except TargetRefused as error:
            self._renewal.refused(str(error))
            raise
        finally:
            if not welcome:
                connection.drop()
        self._renewal.accepted()
        return connection

    def stale(self) -> bool:
        """Return whether renewed files lie ready. librdkafka reads them itself: by their paths."""
        return self._renewal.stale()

    def foreseen(self) -> list[Foreseen]:
        """Return which certificates end soon, and which new files cannot be used."""
        return foreseen_of(self._settings, self._outlook, self._renewal.complaint)

    @property
    def certificate_expires_ms(self) -> int | None:
        """When our own certificate ends."""
        return self._outlook.certificate_expires_ms


def _producer_settings(settings: TargetSettings) -> dict[str, Any]:
    """Return what librdkafka is told (its CONFIGURATION.md). Raises TargetRefused."""
    config = kafka_config(settings)
    told: dict[str, Any] = {
        "bootstrap.servers": ",".join(config.bootstrap_servers),
        "client.id": client_id(settings),
        "enable.idempotence": True,
        "enable.gapless.guarantee": True,
        "max.in.flight.requests.per.connection": MAX_IN_FLIGHT,
        "message.timeout.ms": 0,  # Never: a timeout would leave a gap. `_overdue` judges instead.
        "partitioner": "murmur2",  # As Java's producers, so that streams can be joined by key.
        "compression.type": config.compression,
        "linger.ms": config.linger_s * 1_000,
        "batch.size": min(config.batch_bytes, config.message_bytes_max),
        "message.max.bytes": config.message_bytes_max,
        "queue.buffering.max.messages": 2 * config.in_flight_max + 2,
        "socket.keepalive.enable": True,
        "socket.nagle.disable": True,
        "socket.connection.setup.timeout.ms": max(1_000, int(config.connect_timeout_s * 1_000)),
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 2_000,
        "logger": _SILENT,
    }
    tls = config.security == "tls"
    if tls:
        told["ssl.endpoint.identification.algorithm"] = "https"
        told["enable.ssl.certificate.verification"] = True
        if config.tls_min == "1.3":
            told["ssl.cipher.suites"] = TLS_1_3_ALONE
        for name, file in (
            ("ssl.ca.location", settings.ca_file),
            ("ssl.certificate.location", settings.cert_file),
            ("ssl.key.location", settings.key_file),
        ):
            if file is not None:
                told[name] = str(file)
    if config.user:
        told["sasl.mechanism"] = config.sasl
        told["sasl.username"] = config.user
        told["sasl.password"] = _password(settings)
    told["security.protocol"] = ("sasl_" if config.user else "") + ("ssl" if tls else "plaintext")
    return told


def _password(settings: TargetSettings) -> str:
    file = settings.password_file
    if file is None:
        return ""
    try:
        return file.read_text().rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise TargetRefused(f"password_file {file} cannot be read: {error}") from error
