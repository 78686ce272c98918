"""A Sparkplug host that believes nothing: it decodes with Eclipse Tahu and checks every message.

The decoder is generated from the specification's own schema and shares no code with the house. The
host keeps what it was told, so that tests compare it with what was in the queue.
"""

import json
import socket
import ssl
import struct
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from paho.mqtt import _packet
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from scripted_broker import ScriptedBroker, connack, puback
from tahutils.tahu import sparkplug_b_pb2 as tahu
from uplink_rig import GATEWAY, Site

from common.clock import now_ns
from demo.pki import Identity, Pki
from demo.tls import consumer_context

GROUP = "Acme:SiteA"
NODE = f"spBv1.0/{GROUP}/{{kind}}/{GATEWAY}"
ASSET = "Press_Machine"
REBIRTH = "Node Control/Rebirth"
TYPES = tahu.DataType
OUR_TYPES = {
    TYPES.Value(name) for name in ("Int64", "UInt64", "Double", "Boolean", "String", "Bytes")
}
_SOON_MS = 60_000


class Told(NamedTuple):
    """One value of one metric, as a host has understood it."""

    device: str
    name: str
    at_ms: int
    value: Any
    historical: bool
    properties: dict[str, Any]


class Heard(NamedTuple):
    """One message in Sparkplug's namespace."""

    kind: str
    device: str
    payload: Any
    qos: int
    retain: bool


def value_of(metric: Any, datatype: int) -> Any:
    """Return a value as its datatype says: two's complement is undone here."""
    if metric.is_null:
        assert metric.WhichOneof("value") is None, "a null has no value"
        return None
    field = {
        TYPES.Value("Int64"): "long_value",
        TYPES.Value("UInt64"): "long_value",
        TYPES.Value("Double"): "double_value",
        TYPES.Value("Boolean"): "boolean_value",
        TYPES.Value("String"): "string_value",
        TYPES.Value("Bytes"): "bytes_value",
    }[datatype]
    assert metric.WhichOneof("value") == field, "the value stands where its datatype says"
    value = getattr(metric, field)
    if datatype == TYPES.Value("Int64") and value >= 2**63:
        value -= 2**64
    return value


def properties_of(metric: Any) -> dict[str, Any]:
    """Return a metric's properties; each has its type."""
    said = metric.properties
    assert len(said.keys) == len(said.values), "as many values as keys"
    found = {}
    for key, value in zip(said.keys, said.values, strict=True):
        field = {
            TYPES.Value("Int32"): "int_value",
            TYPES.Value("Double"): "double_value",
            TYPES.Value("Boolean"): "boolean_value",
            TYPES.Value("String"): "string_value",
        }[value.type]
        assert value.WhichOneof("value") == field, key
        found[key] = getattr(value, field)
    if "Quality" in found:
        assert found["Quality"] in (0, 192, 500), "no other quality is known"
    return found


class Model:
    """What a host may believe after each message; every rule that is broken fails at once."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.births: list[Told] = []
        self.kinds: list[tuple[str, str]] = []
        """(message type, device) in order of arrival."""
        self.bd_seqs: list[int] = []
        """Of every NBIRTH."""
        self.deaths: list[int] = []
        """bdSeq of every NDEATH."""
        self.alive = False
        self.devices: set[str] = set()
        self._seq = 0
        self._names: dict[int, tuple[str, str]] = {}
        self._types: dict[tuple[str, str], int] = {}

    def hear(self, said: Heard) -> None:
        """Check one message and believe it."""
        kind, device, payload = said.kind, said.device, said.payload
        assert not said.retain, f"{kind} is not retained"
        self.kinds.append((kind, device))
        if kind == "NDEATH":
            self._death(payload)
            return
        assert said.qos == 0, f"{kind} is published at QoS 0"
        assert bool(device) == kind.startswith("D"), "a device is named where one is meant"
        assert abs(payload.timestamp - now_ns() // 1_000_000) < _SOON_MS, "the time it was sent"
        self._count(kind, payload)
        if kind == "NBIRTH":
            self._node(payload)
        elif kind == "DBIRTH":
            self._born(device, payload)
        elif kind == "DDEATH":
            assert device in self.devices, "only who lives can die"
            self.devices.discard(device)
        else:
            assert kind in ("NDATA", "DDATA")
            assert self.alive, "no data before births"
            assert kind == "NDATA" or device in self.devices, f"no data of an unborn {device}"
            self._data(device, payload)

    def _count(self, kind: str, payload: Any) -> None:
        assert payload.HasField("seq"), f"{kind} has a seq"
        expected = 0 if kind == "NBIRTH" else (self._seq + 1) % 256
        assert payload.seq == expected, f"{kind}: seq {payload.seq} instead of {expected}"
        self._seq = payload.seq

    def _death(self, payload: Any) -> None:
        assert not payload.HasField("seq"), "NDEATH has no seq"
        (metric,) = payload.metrics
        assert (metric.name, metric.datatype) == ("bdSeq", TYPES.Value("Int64"))
        self.deaths.append(metric.long_value)
        if self.bd_seqs and metric.long_value == self.bd_seqs[-1]:
            self.alive = False
            self.devices.clear()

    def _node(self, payload: Any) -> None:
        self._names.clear()
        self._types.clear()
        self.devices.clear()
        self._define("", payload)
        by_name = {metric.name: metric for metric in payload.metrics}
        self.bd_seqs.append(by_name["bdSeq"].long_value)
        assert by_name["bdSeq"].datatype == TYPES.Value("Int64")
        assert 0 <= self.bd_seqs[-1] <= 255
        rebirth = by_name[REBIRTH]
        assert not rebirth.HasField("alias"), "the command has no alias"
        assert rebirth.datatype == TYPES.Value("Boolean")
        assert rebirth.HasField("boolean_value")
        assert not rebirth.boolean_value
        self.alive = True

    def _born(self, device: str, payload: Any) -> None:
        assert self.alive, "an NBIRTH comes before any DBIRTH"
        self._define(device, payload)
        self.devices.add(device)

    def _define(self, device: str, payload: Any) -> None:
        last_ms = 0
        aliases = [metric.alias for metric in payload.metrics if metric.HasField("alias")]
        assert len(aliases) in (0, len(payload.metrics), len(payload.metrics) - (not device))
        for metric in payload.metrics:
            assert metric.HasField("name")
            assert metric.HasField("timestamp")
            assert metric.HasField("datatype")
            assert metric.datatype in OUR_TYPES
            assert metric.timestamp >= last_ms, "in the order of their times"
            last_ms = metric.timestamp
            key = device, metric.name
            if metric.HasField("alias"):
                owner = self._names.setdefault(metric.alias, key)
                assert owner == key, f"alias {metric.alias} is {owner}'s"
            self._types[key] = metric.datatype
            self.births.append(self._understood(key, metric))

    def _data(self, device: str, payload: Any) -> None:
        assert payload.metrics, "data says something"
        last_ms = 0
        for metric in payload.metrics:
            assert metric.HasField("alias") != metric.HasField("name"), "one or the other"
            assert metric.HasField("timestamp")
            assert not metric.HasField("datatype"), "births have said it"
            key = self._names[metric.alias] if metric.HasField("alias") else (device, metric.name)
            assert key in self._types, f"{key} was born"
            assert key[0] == device, "an alias of this device"
            if not metric.is_historical:
                assert metric.timestamp >= last_ms, "current values are in chronological order"
                last_ms = metric.timestamp
            self.told.append(self._understood(key, metric))

    def _understood(self, key: tuple[str, str], metric: Any) -> Told:
        return Told(
            *key,
            metric.timestamp,
            value_of(metric, self._types[key]),
            metric.is_historical,
            properties_of(metric),
        )

    def samples(self) -> set[tuple[str, str, int, Any]]:
        """Return (device, name, time, value) of everything in data, each once."""
        return {(each.device, each.name, each.at_ms, each.value) for each in list(self.told)}

    def values(self, name: str, device: str = ASSET) -> list[Any]:
        """Return every value of a metric in data, in order of arrival."""
        return [each.value for each in self.told if (each.device, each.name) == (device, name)]


class Host:
    """A client of the broker that hears everything and puts it to a `Model`."""

    def __init__(self, port: int, pki: Pki, identity: Identity, name: str = "scada") -> None:
        self.model = Model()
        self.fault: AssertionError | KeyError | None = None
        """The first rule that was broken."""
        self.others: dict[str, list[Any]] = defaultdict(list)
        """JSON payloads by topic, of everything that is not Sparkplug's."""
        self.subscriptions = 0
        """One more whenever the broker has come back."""
        self._subscribed = threading.Event()
        self.client = Client(
            CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion.MQTTv5
        )
        self.client.reconnect_delay_set(1, 1)
        self.client.tls_set_context(consumer_context(pki.ca_file, identity))
        self.client.on_message = self._on_message
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_subscribe = self._on_subscribe
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self._subscribed.wait(20), "the host is subscribed"

    def _on_subscribe(self, *_: object) -> None:
        self.subscriptions += 1
        self._subscribed.set()

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        levels = message.topic.split("/")
        if levels[0] == "STATE":
            return
        if levels[0] != "spBv1.0":
            self.others[message.topic].append(json.loads(message.payload or b"null"))
            return
        if levels[1] == "STATE" or levels[2] == "NCMD":
            return
        _, _, kind, _, *device = levels
        payload = tahu.Payload.FromString(message.payload)
        try:
            self.model.hear(
                Heard(kind, "".join(device), payload, message.qos, bool(message.retain))
            )
        except (AssertionError, KeyError) as fault:
            self.fault = self.fault or fault

    def state(self, *, online: bool, at_ms: int | None = None, host: str = "scada") -> None:
        """Publish STATE as a primary host of 3.0 does."""
        said = {"online": online, "timestamp": at_ms or now_ns() // 1_000_000}
        self.publish(f"spBv1.0/STATE/{host}", json.dumps(said).encode(), retain=True)

    def command(self, name: str, *, value: bool = True, retain: bool = False) -> None:
        """Publish an NCMD."""
        payload = tahu.Payload(timestamp=now_ns() // 1_000_000)
        payload.metrics.add(name=name, datatype=TYPES.Value("Boolean"), boolean_value=value)
        self.publish(NODE.format(kind="NCMD"), payload.SerializeToString(), retain=retain, qos=0)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> None:
        """Publish anything, and wait until the broker has it."""
        self.client.publish(topic, payload, qos=qos, retain=retain).wait_for_publish(20)

    def check(self) -> None:
        """Fail with the first rule that was broken."""
        if self.fault is not None:
            raise self.fault

    def close(self) -> None:
        """Disconnect."""
        self.client.disconnect()
        self.client.loop_stop()


def configure(site: Site, port: int, settings: str = "", **keys: object) -> None:
    """Write it/cloud.toml for the profile; `settings` is TOML of its own table."""
    site.configure(port, payload="sparkplug", **keys)
    file = site.config_dir / "it" / "cloud.toml"
    file.write_text(f"{file.read_text()}[targets.uns.sparkplug]\n{settings}\n")


class Read(NamedTuple):
    """One PUBLISH as the scripted broker has read it."""

    connection: int
    topic: str
    content: bytes
    qos: int
    retain: bool


class SparkplugBroker(ScriptedBroker):
    """A scripted broker that admits subscriptions and keeps what it reads, byte by byte.

    `cut` is asked after each message whether to reset the connection now, unanswered.
    """

    def __init__(
        self,
        pki: Pki,
        cut: Callable[["SparkplugBroker", Read], bool] = lambda _broker, _read: False,
        *,
        code: Callable[[str], int] = lambda _topic: 0,
        limits: dict[str, int] | None = None,
    ) -> None:
        """`code` is the reason code of the acknowledgement, by topic."""
        announced: dict[str, int] = {} if limits is None else limits
        super().__init__(pki, welcome=lambda _connection: connack(**announced))
        self._cut = cut
        self._code = code
        self.read: list[Read] = []
        self.acknowledged: list[int] = []
        """How much was read when each barrier was acknowledged: index behind it in `read`."""
        self.subscribed: list[bytes] = []
        """Bodies of SUBSCRIBE."""
        self.farewells: list[bytes] = []
        """Bodies of DISCONNECT."""

    def _talk(self, connection: ssl.SSLSocket) -> None:
        while (packet := self._next(connection)) is not None:
            head, body = packet
            kind = head & 0xF0
            if kind == 0x10:
                self.connects.append(body)
                connection.sendall(self._welcome(len(self.connects)) or b"")
            elif kind == 0x80:
                self.subscribed.append(body)
                granted = bytes(body.count(b"spBv1.0/"))
                connection.sendall(b"\x90" + bytes([3 + len(granted)]) + body[:2] + b"\0" + granted)
            elif kind == 0x30:
                if self._published(connection, head, body):
                    return
            elif kind == 0xC0:
                connection.sendall(b"\xd0\x00")
            elif kind == 0xE0:
                self.farewells.append(body)
                return

    def _published(self, connection: ssl.SSLSocket, head: int, body: bytes) -> bool:
        """Remember and answer a PUBLISH; return whether the connection was cut instead."""
        read = _packet.decode_publish(head, body, MQTTProtocolVersion.MQTTv5)
        qos = head >> 1 & 3
        got = Read(len(self.connects), read.topic.decode(), read.payload, qos, bool(head & 1))
        self.read.append(got)
        if self._cut(self, got):
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return True
        if qos:
            connection.sendall(puback(read.mid, self._code(got.topic)))
            self.acknowledged.append(len(self.read))
        return False

    def models(self) -> list[Model]:
        """Return what a host would believe of each connection, every rule checked."""
        found: dict[int, Model] = {}
        for each in list(self.read):
            model = found.setdefault(each.connection, Model())
            levels = each.topic.split("/")
            if levels[0] == "spBv1.0":
                payload = tahu.Payload.FromString(each.content)
                device = "".join(levels[4:])
                model.hear(Heard(levels[2], device, payload, each.qos, each.retain))
        return list(found.values())
