"""A consumer of the namespace: an MQTT 5 subscriber over TLS 1.3 that keeps the latest values.

It is no part of the gateway. It stands where SAP or a data lake would stand, and judges what
arrives: every message has an identity, `<gateway>:<epoch>:<sequence>:<index>`, by which a consumer
knows what is missing and what came twice.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from common.clock import monotonic_s, now_ns
from common.log import get_log
from demo.pki import Identity
from demo.tls import consumer_context

KEEPALIVE_S = 15
RECONNECT_S = 1
IDENTITIES_MAX = 200_000
"""Remembered for comparison; the demo's line makes about 30 messages a second."""
EDGE_LEVEL = "/_edge/"
"""The branch in which a gateway speaks of itself; those messages are no values."""
META_LEVEL = "/_meta/"
"""The branches that say what a tag is."""

log = get_log(__name__)


class _Payload(msgspec.Struct):
    """The keys this consumer needs; others may be added by the gateway at any time."""

    timestamp_ms: int
    value: Any
    quality: str
    id: str
    hist: bool = False


class _Named(msgspec.Struct):
    """What a gap has in common with a value."""

    id: str = ""


_payloads = msgspec.json.Decoder(_Payload)
_named = msgspec.json.Decoder(_Named)


@dataclass(frozen=True)
class Latest:
    """The newest value of one topic, by the gateway's clock."""

    value: Any
    quality: str
    timestamp_ms: int

    @property
    def age_s(self) -> float:
        """Seconds since the value was read or last changed."""
        return now_ns() / 1e9 - self.timestamp_ms / 1000


@dataclass(frozen=True)
class Seen:
    """What the watcher knows at one moment."""

    latest: dict[str, Latest]
    """By topic."""
    messages: int
    """Live value messages, those that arrived twice included; retained copies are not counted."""
    historical: int
    """Those of them that the gateway marked as history."""
    repeats: int
    malformed: int
    first_at_s: float | None
    """When the first value arrived; monotonic."""
    connected: bool
    failure: str
    """Why it is not connected, as far as known."""


class Watcher:
    """Subscribes to everything below `root`; connects again by itself, for as long as it runs.

    While it is itself away from the broker it misses what is published; see IDENTITIES_MAX for
    how far back it can tell a repeat.
    """

    def __init__(
        self, port: int, ca_file: Path, identity: Identity, root: str, *, host: str = "localhost"
    ) -> None:
        self._lock = threading.Lock()
        self._latest: dict[str, Latest] = {}
        self._identities: OrderedDict[str, None] = OrderedDict()
        self._messages = self._historical = self._repeats = self._malformed = 0
        self._first_at_s: float | None = None
        self._failure = ""
        self._subscribed = threading.Event()
        self._filter = f"{root}/#"
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"tailrace-demo-watcher-{port}",
            protocol=mqtt.MQTTv5,
        )
        self._client.tls_set_context(consumer_context(ca_file, identity))
        self._client.reconnect_delay_set(RECONNECT_S, RECONNECT_S)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.connect_async(host, port, keepalive=KEEPALIVE_S)

    def start(self) -> Self:
        """Start in a thread of its own; return at once."""
        self._client.loop_start()
        return self

    def wait_until_subscribed(self, timeout_s: float) -> bool:
        """Return whether the broker has confirmed the subscription in time."""
        return self._subscribed.wait(timeout_s)

    def stop(self) -> None:
        """Disconnect and end the thread. May be repeated."""
        self._client.disconnect()
        self._client.loop_stop()

    def seen(self) -> Seen:
        """Return what is known at this moment."""
        with self._lock:
            return Seen(
                latest=dict(self._latest),
                messages=self._messages,
                historical=self._historical,
                repeats=self._repeats,
                malformed=self._malformed,
                first_at_s=self._first_at_s,
                connected=self._subscribed.is_set(),
                failure=self._failure,
            )

    def missing(self, identities: set[str]) -> set[str]:
        """Return those of `identities` that have not arrived, values and gaps alike."""
        with self._lock:
            return identities - self._identities.keys()

    # An exception in a paho callback ends paho's thread, unseen: so none may leave these methods.

    def _on_connect(
        self, client: mqtt.Client, _data: object, _flags: object, code: ReasonCode, _props: object
    ) -> None:
        if code.is_failure:
            self._failure = str(code)
            return
        client.subscribe(self._filter, qos=1)

    def _on_subscribe(
        self,
        _client: mqtt.Client,
        _data: object,
        _mid: int,
        codes: list[ReasonCode],
        _props: object,
    ) -> None:
        refused = next((str(code) for code in codes if code.is_failure), "")
        self._failure = refused
        if not refused:
            self._subscribed.set()

    def _on_disconnect(
        self, _client: mqtt.Client, _data: object, _flags: object, code: ReasonCode, _props: object
    ) -> None:
        self._subscribed.clear()
        self._failure = str(code)

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        if META_LEVEL in message.topic:
            return
        try:
            if EDGE_LEVEL in message.topic:
                named = _named.decode(message.payload)
                with self._lock:
                    self._remember(named.id)
                return
            payload = _payloads.decode(message.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            with self._lock:
                self._malformed += 1
                first = self._malformed == 1
            if first:
                log.warning("message not understood", topic=message.topic, error=error)
            return
        with self._lock:
            self._take(message.topic, payload, retained=message.retain)

    def _take(self, topic: str, payload: _Payload, *, retained: bool) -> None:
        if self._first_at_s is None:
            self._first_at_s = monotonic_s()
        if not retained:  # A retained copy is the broker's answer to subscribing, no delivery.
            self._messages += 1
            self._historical += payload.hist
            self._repeats += payload.id in self._identities
        self._remember(payload.id)
        last = self._latest.get(topic)
        if last is None or payload.timestamp_ms >= last.timestamp_ms:
            self._latest[topic] = Latest(payload.value, payload.quality, payload.timestamp_ms)

    def _remember(self, identity: str) -> None:
        if identity:
            self._identities[identity] = None
            while len(self._identities) > IDENTITIES_MAX:
                self._identities.popitem(last=False)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()
