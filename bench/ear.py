"""A subscriber that costs little: it hears everything, times what is live and judges the rest.

    python -m bench.ear PORT PKI_DIR FILTER

Prints one JSON line a second. Reads a line from standard input to begin the latencies anew; at the
end of standard input it prints its verdict and ends. It speaks just enough MQTT 5 to subscribe at
QoS 0; a client library would cost more than the uplink that is measured.
"""

import json
import select
import socket
import ssl
import struct
import sys
from pathlib import Path
from typing import Any

from common.clock import now_ns

WIDTH = 256
"""More than any plan of the bench has columns."""
REPORT_NS = 1_000_000_000


def connected(port: int, pki_dir: Path, topics: str, name: str) -> ssl.SSLSocket:
    """Return a socket on which the subscription was sent."""
    context = ssl.create_default_context(cafile=pki_dir / "ca.pem")
    context.load_cert_chain(pki_dir / "gateway.pem", pki_dir / "gateway.key")
    raw = socket.create_connection(("localhost", port))
    tls = context.wrap_socket(raw, server_hostname="localhost")
    client = name.encode()
    connect = b"\x00\x04MQTT\x05\x02\x00\x00\x00" + struct.pack(">H", len(client)) + client
    tls.sendall(b"\x10" + bytes([len(connect)]) + connect)
    wanted = topics.encode()
    # Retain as published (bit 3): the flag says what the uplink asked for.
    subscribe = b"\x00\x01\x00" + struct.pack(">H", len(wanted)) + wanted + b"\x08"
    tls.sendall(b"\x82" + bytes([len(subscribe)]) + subscribe)
    return tls


class Ear:
    """What was heard."""

    def __init__(self) -> None:
        self.begun_ns = now_ns()
        self.live = self.hist = self.repeats = self.disorder = self.wrongly_retained = 0
        self.late_ms: list[float] = []
        self._rest = b""
        self._heard = bytearray()
        self._last: dict[tuple[bytes, bool], int] = {}
        self.newest: dict[bytes, int] = {}

    def take(self, data: bytes) -> None:
        """Take in what came."""
        data = self._rest + data
        at, end = 0, len(data)
        while at + 2 <= end:
            length, shift, start = 0, 0, at + 1
            while start < end:
                digit = data[start]
                length |= (digit & 0x7F) << shift
                shift += 7
                start += 1
                if digit < 0x80:
                    break
            else:
                break
            if start + length > end:
                break
            if data[at] & 0xF0 == 0x30:
                self._publish(data[at], data[start : start + length])
            at = start + length
        self._rest = data[at:]

    def _publish(self, first: int, body: bytes) -> None:
        topic_end = 2 + int.from_bytes(body[:2], "big")
        topic = body[2:topic_end]
        payload = body[body.index(b"{", topic_end) :]
        found = payload.find(b'"id":"')
        if found < 0:
            return
        _, _, sequence_text, index = payload[found + 6 : payload.index(b'"', found + 6)].split(b":")
        sequence = int(sequence_text)
        hist = b'"hist":true' in payload
        self.hist += hist
        self.live += not hist
        self.wrongly_retained += bool(first & 1) == hist
        place = sequence * WIDTH + int(index)
        if place >= len(self._heard):
            self._heard.extend(bytes(max(1 << 20, place + 1 - len(self._heard))))
        if self._heard[place]:
            self.repeats += 1
        self._heard[place] = 1
        last = self._last.get((topic, hist), 0)
        self.disorder += sequence < last
        self._last[topic, hist] = sequence
        self.newest[topic] = max(sequence, self.newest.get(topic, 0))
        if not hist:
            value = payload.find(b'"value":') + 8
            told_ms = float(payload[value : payload.index(b",", value)])
            if told_ms * 1e6 >= self.begun_ns:
                self.late_ms.append(now_ns() / 1e6 - told_ms)

    @property
    def distinct(self) -> int:
        """Samples, each counted once."""
        return len(self._heard) - self._heard.count(0)

    def report(self) -> dict[str, Any]:
        """Return how it stands."""
        late_ms = sorted(self.late_ms)
        found: dict[str, Any] = {"live": self.live, "hist": self.hist, "timed": len(late_ms)}
        for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99)):
            found[name] = round(late_ms[int(len(late_ms) * share)], 2) if late_ms else None
        return found

    def verdict(self) -> dict[str, Any]:
        """Return what is to be judged in the end."""
        return {
            "distinct": self.distinct,
            "repeats": self.repeats,
            "disorder": self.disorder,
            "wrongly_retained": self.wrongly_retained,
        }


def main() -> None:
    """Listen."""
    port, pki_dir, topics = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    tls = connected(port, pki_dir, topics, f"ear-{len(topics)}")
    ear, report_at_ns = Ear(), 0
    tls.settimeout(0)
    while True:
        ready, _, _ = select.select([tls, sys.stdin], [], [], 0.2)
        if tls in ready:
            try:
                while data := tls.recv(1 << 18):
                    ear.take(data)
            except ssl.SSLWantReadError:
                pass
        if sys.stdin in ready:
            if not sys.stdin.readline():
                break
            ear.late_ms.clear()
        if now_ns() >= report_at_ns:
            report_at_ns = now_ns() + REPORT_NS
            print(json.dumps(ear.report()), flush=True)
    print(json.dumps(ear.verdict()), flush=True)


if __name__ == "__main__":
    main()
