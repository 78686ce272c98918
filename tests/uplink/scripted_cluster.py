"""A Kafka broker of one's own: it checks sequence numbers as brokers do and fails as it is told.

It speaks ApiVersions 0, Metadata 1, InitProducerId 0, Produce 3, SaslHandshake 1 and
SaslAuthenticate 0 (kafka.apache.org/protocol), with or without TLS. Of each producer and partition
it takes the batch that follows the last one, answers a repeat of the last five without keeping it
again, and refuses any other with OUT_OF_ORDER_SEQUENCE_NUMBER (KIP-98). Record batches: KIP-98,
uncompressed or gzip.
"""

import gzip
import json
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, Self

from kafka_rig import TOPIC, Kept

PRODUCE, METADATA, SASL_HANDSHAKE, API_VERSIONS, INIT_PRODUCER_ID, SASL_AUTHENTICATE = (
    *(0, 3, 17),
    *(18, 22, 36),
)
FETCH = 1
VERSIONS = {
    PRODUCE: (3, 3),
    FETCH: (4, 4),
    METADATA: (1, 1),
    API_VERSIONS: (0, 0),
    INIT_PRODUCER_ID: (0, 0),
    SASL_HANDSHAKE: (1, 1),
    SASL_AUTHENTICATE: (0, 0),
}
"""Fetch is only announced: a client believes in record batches of version 2 when it sees it."""
OUT_OF_ORDER_SEQUENCE, INVALID_PRODUCER_EPOCH = 45, 47
UNSUPPORTED_VERSION = 35
SASL_AUTHENTICATION_FAILED = 58
UNSUPPORTED_SASL_MECHANISM = 33
REMEMBERED = 5
REQUEST_BYTES_MAX = 100 * 1024**2
"""Of brokers, socket.request.max.bytes."""
_HEADER = struct.Struct(">qiibIhiqqqhii")
_GZIP = 1


class Reaction(NamedTuple):
    """What the broker does with one batch that it could take."""

    code: int = 0
    keeps: bool = True
    """Whether it is in the log all the same."""
    answers: bool = True
    """False: it hangs up instead."""


TAKE = Reaction()


def refuse(code: int) -> Reaction:
    """Return the reaction that keeps nothing."""
    return Reaction(code, keeps=False)


@dataclass(frozen=True)
class Batch:
    """One record batch as it arrived."""

    number: int
    """Counted over all connections, from 1."""
    partition: int
    producer: tuple[int, int]
    """Its number and its epoch, which librdkafka raises itself when it begins anew (KIP-360)."""
    first: int
    """Sequence number of its first record."""
    records: tuple[Kept, ...]

    @property
    def last(self) -> int:
        """Sequence number of its last record."""
        return self.first + len(self.records) - 1

    def holds(self, key_end: str, sequence: int) -> bool:
        """Return whether the sample of this tag and sequence is in it."""
        return any(
            each.key.endswith(key_end) and f":{sequence}:" in each.payload.get("id", "")
            for each in self.records
        )


class _Newest:
    """What a broker remembers of one producer in one partition."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.batches: deque[tuple[int, int]] = deque(maxlen=REMEMBERED)


class Reader:
    """Takes a request apart."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, form: str) -> int:
        """Return one big-endian number."""
        (found,) = struct.unpack(f">{form}", self.take(struct.calcsize(form)))
        return int(found)

    def text(self) -> str:
        """Return a (nullable) string."""
        return self.take(max(0, self.number("h"))).decode()

    def varint(self) -> int:
        """Return one zigzag number."""
        shift = found = 0
        while True:
            byte = self.take(1)[0]
            found |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return (found >> 1) ^ -(found & 1)

    def counted(self) -> bytes:
        """Return bytes behind their length as a varint."""
        return self.take(max(0, self.varint()))


def text(value: str) -> bytes:
    """Return a string of the protocol."""
    return struct.pack(">h", len(value)) + value.encode()


def records_of(data: bytes, partition: int) -> tuple[tuple[int, int], int, tuple[Kept, ...]]:
    """Return producer and epoch, first sequence and records of one batch."""
    header = _HEADER.unpack_from(data)
    attributes, producer, first, count = header[5], header[9:11], header[11], header[12]
    body = data[_HEADER.size :]
    reader = Reader(gzip.decompress(body) if attributes & 7 == _GZIP else body)
    found = []
    for _ in range(count):
        reader.varint()
        reader.take(1)
        reader.varint()
        reader.varint()
        key, value = reader.counted().decode(), reader.counted()
        headers = {
            reader.counted().decode(): reader.counted().decode() for _ in range(reader.varint())
        }
        found.append(Kept(partition, key, json.loads(value), headers))
    return producer, first, tuple(found)


class ScriptedCluster:
    """Listens on 127.0.0.1; each connection has a thread of its own."""

    def __init__(
        self,
        react: Callable[[Batch], Reaction] = lambda _batch: TAKE,
        *,
        partitions: int = 2,
        topic_error: int = 0,
        leader: int = 1,
        in_sync: int = 1,
        tls: ssl.SSLContext | None = None,
        password: str | None = None,
    ) -> None:
        """`password` is what SASL PLAIN must bring; `leader` -1: the partitions have none."""
        self._react = react
        self._partitions = partitions
        self.topic_error = topic_error
        self._leader = leader
        self._in_sync = in_sync
        self._tls = tls
        self._password = password
        self._lock = threading.Lock()
        self._states: dict[tuple[int, int], _Newest] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="scripted cluster")]
        self.port = int(self._listener.getsockname()[1])
        self.servers = [f"localhost:{self.port}"]
        self.log: list[Kept] = []
        """Everything kept, of all partitions, in the order of arrival."""
        self.batches: list[Batch] = []
        """Everything that arrived, refused or not."""
        self.producers = 0
        self.peers: list[str] = []
        """The common name of each client certificate, or the failure of its handshake."""
        self.requests: list[int] = []

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        connection = plain
        with suppress(OSError), plain:
            if self._tls is not None:
                try:
                    connection = self._tls.wrap_socket(plain, server_side=True)
                except OSError as error:
                    self.peers.append(str(error))
                    return
                self._open.append(connection)
                subject = (connection.getpeercert() or {}).get("subject", ())
                self.peers.append(str(subject))
            with connection, connection.makefile("rb") as stream:
                while head := stream.read(4):
                    size = int.from_bytes(head, "big")
                    if size > REQUEST_BYTES_MAX:
                        return  # As brokers do: it is TLS, or HTTP.
                    request = Reader(stream.read(size))
                    with self._lock:
                        answer = self._answer(request)
                    if answer is None:
                        return
                    connection.sendall(struct.pack(">i", len(answer)) + answer)

    def _answer(self, request: Reader) -> bytes | None:
        key, version, correlation = (request.number(form) for form in "hhi")
        request.text()
        self.requests.append(key)
        handlers = {
            PRODUCE: self._produce,
            METADATA: self._metadata,
            INIT_PRODUCER_ID: self._producer,
            SASL_HANDSHAKE: self._handshake,
            SASL_AUTHENTICATE: self._authenticate,
        }
        if key == API_VERSIONS:
            body: bytes | None = _versions(UNSUPPORTED_VERSION if version else 0)
        else:
            body = handlers[key](request)
        return None if body is None else struct.pack(">i", correlation) + body

    def _handshake(self, request: Reader) -> bytes:
        code = 0 if request.text() == "PLAIN" else UNSUPPORTED_SASL_MECHANISM
        return struct.pack(">hi", code, 1) + text("PLAIN")

    def _authenticate(self, request: Reader) -> bytes:
        *_, password = request.take(request.number("i")).decode().split("\0")
        if password == self._password:
            return struct.pack(">hhi", 0, -1, 0)
        return struct.pack(">h", SASL_AUTHENTICATION_FAILED) + text("wrong") + bytes(4)

    def _metadata(self, _: Reader) -> bytes:
        brokers = struct.pack(">ii", 1, 1) + text("localhost") + struct.pack(">ih", self.port, -1)
        replicas = struct.pack(">iiii", 3, 1, 2, 3)
        in_sync = struct.pack(">i", self._in_sync) + b"".join(
            struct.pack(">i", broker) for broker in range(1, self._in_sync + 1)
        )
        partitions = b"".join(
            struct.pack(">hii", 0, number, self._leader) + replicas + in_sync
            for number in range(self._partitions)
        )
        topic = struct.pack(">h", self.topic_error) + text(TOPIC) + b"\0"
        count = struct.pack(">i", self._partitions)
        return brokers + struct.pack(">ii", 1, 1) + topic + count + partitions

    def _producer(self, _: Reader) -> bytes:
        self.producers += 1
        return struct.pack(">ihqh", 0, 0, self.producers, 0)

    def _produce(self, request: Reader) -> bytes | None:
        request.text()
        request.take(6)
        answer = request.take(4)
        for _ in range(int.from_bytes(answer, "big")):
            answer += text(request.text())
            count = request.number("i")
            answer += struct.pack(">i", count)
            for _ in range(count):
                partition = request.number("i")
                data = request.take(request.number("i"))
                reaction = self._take(partition, data)
                if not reaction.answers:
                    return None
                answer += struct.pack(">ihqq", partition, reaction.code, 0, -1)
        return answer + bytes(4)

    def _take(self, partition: int, data: bytes) -> Reaction:
        producer, first, records = records_of(data, partition)
        batch = Batch(len(self.batches) + 1, partition, producer, first, records)
        self.batches.append(batch)
        number, epoch = producer
        newest = self._states.setdefault((number, partition), _Newest(epoch))
        if epoch < newest.epoch:
            return refuse(INVALID_PRODUCER_EPOCH)
        if epoch > newest.epoch:
            newest = self._states[number, partition] = _Newest(epoch)
        state = newest.batches
        if (batch.first, batch.last) in state:
            return TAKE
        follows = state[-1][1] + 1 if state else 0
        if first != follows:
            return refuse(OUT_OF_ORDER_SEQUENCE)
        reaction = self._react(batch)
        if reaction.keeps:
            state.append((batch.first, batch.last))
            self.log += records
        return reaction


def _versions(code: int) -> bytes:
    listed = b"".join(struct.pack(">hhh", key, *span) for key, span in VERSIONS.items())
    return struct.pack(">hi", code, len(VERSIONS)) + listed


def scripted(reactions: dict[int, Reaction]) -> Callable[[Batch], Reaction]:
    """Return a script: number of the batch → reaction; every other one is taken."""
    return lambda batch: reactions.get(batch.number, TAKE)


def each_time(codes: Iterator[int]) -> Callable[[Batch], Reaction]:
    """Return a script that takes its codes one after the other; 0 and the end take the batch."""

    def react(_: Batch) -> Reaction:
        code = next(codes, 0)
        return refuse(code) if code else TAKE

    return react
