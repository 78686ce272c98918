"""A broker as Sparkplug B sees it: one session of an edge node on one MQTT connection.

    CONNECT, will NDEATH(bdSeq)  →  SUBSCRIBE NCMD, STATE  →  primary host online?  →  NBIRTH(seq 0)
    →  DBIRTH of every device  →  DDATA, NDATA … with a barrier at QoS 1 now and then
    →  NDEATH, DISCONNECT

The session is the connection's business (sparkplug_connection.py): one that is given out was born.
"""

from collections.abc import Callable

from common.clock import now_ns
from common.log import get_log
from uplink.contract import Foreseen, Message
from uplink.payloads.sparkplug import SparkplugWording
from uplink.payloads.uns import NS_PER_MS
from uplink.settings import TargetSettings
from uplink.sparkplug.current import Current
from uplink.sparkplug.host import PrimaryHost
from uplink.sparkplug.numbers import BirthDeath
from uplink.surroundings import Surroundings
from uplink.targets.mqtt import MqttTarget
from uplink.targets.mqtt_connection import MqttConnection
from uplink.targets.sparkplug_connection import (
    SparkplugConnection,
    death_of,
    hear_state,
)

HOLD_SLICE_S = 0.1

log = get_log(__name__)


def build_target(settings: TargetSettings, surroundings: Surroundings) -> "SparkplugTarget":
    """Return the far side of one [targets.NAME] with payload = "sparkplug"."""
    return SparkplugTarget(settings, surroundings)


class SparkplugTarget:
    """One edge node at one broker."""

    def __init__(self, settings: TargetSettings, surroundings: Surroundings) -> None:
        wording = surroundings.wording
        if not isinstance(wording, SparkplugWording):
            raise TypeError(f"target {settings.name} is not worded as Sparkplug")
        self._config = settings.config.sparkplug
        self._book = wording.book
        self._status_topic = f"{surroundings.identity.edge}/status"
        self._report = surroundings.report
        self._current = Current(surroundings.reader, surroundings.newest, surroundings.cursor)
        self._numbers = BirthDeath(surroundings.cursor)
        host = self._config.primary_host
        self._host = PrimaryHost(host) if host else None
        names = self._book.names
        self._mqtt = MqttTarget(settings, self._last_words, names.subscriptions)

    @property
    def address(self) -> str:
        """`host:port`."""
        return self._mqtt.address

    def connect(self, waiting: Callable[[], None]) -> "SparkplugConnection":
        """Open a connection, wait for the primary host, and be born.

        Raises TargetUnavailable or TargetRefused.
        """
        if self._host:
            self._host.forget()
        inner = self._mqtt.connect(waiting)
        leave: Callable[[], None] = inner.close
        born = False
        try:
            self._await_host(inner, waiting)
            connection = SparkplugConnection(
                inner, self._book, self._numbers, self._current, self._config
            )
            leave = connection.close
            connection.begin(self._host, self._status_topic)
            born = True
        finally:
            if not born:
                leave()
        return connection

    def stale(self) -> bool:
        """Return whether renewed files lie ready; the old ones serve until then."""
        return self._mqtt.stale()

    def foreseen(self) -> list[Foreseen]:
        """Return which certificates end soon, and which new files cannot be used."""
        return self._mqtt.foreseen()

    @property
    def certificate_expires_ms(self) -> int | None:
        """When our own certificate ends."""
        return self._mqtt.certificate_expires_ms

    def _await_host(self, inner: MqttConnection, waiting: Callable[[], None]) -> None:
        host, told = self._host, ""
        while host is not None:
            for topic, content, _ in inner.received():
                hear_state(self._book, host, topic, content)
            if host.online:
                return
            if host.complaint != told:
                told = host.complaint
                log.warning("primary host is away", address=self.address, reason=told)
            if self._report is not None:
                self._report.error = f"connected to {self.address}; {told}"
            waiting()
            inner.exchange(HOLD_SLICE_S)

    def _last_words(self) -> Message:
        at_ms = now_ns() // NS_PER_MS
        return death_of(self._book, self._numbers.next(), at_ms)
