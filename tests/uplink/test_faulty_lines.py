"""Goal: whatever a line does, nothing is lost, order is kept, and the health file names the cause.

Method: the real uplink, mosquitto over TLS 1.3, and between them a line that fails on purpose; the
verifying subscriber stands at the broker and judges by the identities and by the ledger. What this
cannot show: that packets are lost and sent again by the system; what the line holds, it keeps.
"""

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from line import BOTH, IN, OUT, Line, Way
from uplink_rig import OPEN, ROOT, Certificates, Site, wait_until

from console.verify_text import verify_text
from console.verifying import Listening, topics_of
from demo.broker import EmbeddedBroker, MosquittoBroker
from demo.pki import Pki
from subscribers.listening import Address

pytestmark = pytest.mark.process

RECORDS, TAGS = 60, 20
IMPATIENT = {"reply_timeout_s": 2, "connect_timeout_s": 1, "keepalive_s": 5}


class Consumer:
    """`tailrace verify`, step by step."""

    def __init__(self, port: int, certificates: Certificates, folder: Path) -> None:
        lake, ca_file = certificates.lake, certificates.pki.ca_file
        address = Address("127.0.0.1", port, ca_file, lake.cert_file, lake.key_file)
        self.listening = Listening(address, topics_of(folder, ROOT), "uns")
        self.listening.subscription.open()

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Listen until a condition holds."""

        def holds() -> object:
            self.listening.step()
            return condition()

        wait_until(holds, what, 60)

    def has(self, samples: int) -> bool:
        """Return whether so many have come for the first time."""
        return sum(self.listening.reading.assets.values()) >= samples


Broker = MosquittoBroker | EmbeddedBroker


@pytest.fixture(params=["mosquitto", "embedded"])
def broker(request: pytest.FixtureRequest, tmp_path: Path, pki: Pki) -> Iterator[Broker]:
    folder = tmp_path / "broker"
    if request.param == "embedded":
        made: Broker = EmbeddedBroker(folder, pki)
    else:
        made = MosquittoBroker(folder, pki, settings=OPEN)
    with made as broker:
        yield broker


@pytest.fixture
def consumer(broker: Broker, certificates: Certificates, tmp_path: Path) -> Iterator[Consumer]:
    consumer = Consumer(broker.port, certificates, tmp_path)
    yield consumer
    consumer.listening.subscription.close()


def assert_all_arrived(site: Site, consumer: Consumer, samples: int) -> int:
    """Have the gateway say what it has delivered, and compare. Return the repeats."""
    consumer.wait_until(lambda: consumer.has(samples), "everything arrives")
    site.stop()
    site.start()  # It speaks when it connects.
    consumer.wait_until(lambda: consumer.listening.complete, "all adds up")
    found = consumer.listening.found(1.0)
    (verdict,) = found.gateways
    assert found.sound, verify_text(found)
    assert verdict.samples == samples
    assert verdict.disorder == 0
    return verdict.repeats


def broken_in_between(
    site: Site, line: Line, consumer: Consumer, fault: Callable[[Line], None]
) -> None:
    """Have data flow, then the fault happen, then more data come."""
    site.configure(line.port, **IMPATIENT)
    site.fill(RECORDS, TAGS)
    site.start()
    consumer.wait_until(lambda: consumer.has(RECORDS * TAGS), "it flows")
    fault(line)
    site.fill(RECORDS, TAGS)


def hold(*ways: Way) -> Callable[[Line], None]:
    """A black hole that lasts: what stands in the old connections then never arrives."""

    def fault(line: Line) -> None:
        line.hold(*ways)
        line.orphan(*ways)

    return fault


def refuse(line: Line) -> None:
    line.block()
    line.cut()


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        pytest.param(hold(*BOTH), "", id="black hole"),
        pytest.param(hold(OUT), "", id="black hole outward"),
        pytest.param(hold(IN), "", id="black hole inward"),
        pytest.param(refuse, "closed the connection", id="cut and closed"),
    ],
)
def test_an_outage_of_the_line_costs_nothing_and_is_named(
    site: Site,
    broker: Broker,
    consumer: Consumer,
    fault: Callable[[Line], None],
    cause: str,
) -> None:
    """Data comes before, during and after it.

    Seen to bite: with what was in flight taken for settled when a connection ended.
    """
    with Line(broker.port) as line:
        broken_in_between(site, line, consumer, fault)
        wait_until(lambda: site.detail.get("state") == "away", "the outage is noticed")
        wait_until(lambda: site.detail.get("error"), "and named")
        named = f"{site.detail['error']}\n{site.log}"
        site.fill(RECORDS, TAGS)
        line.release()
        line.block(blocked=False)
        repeats = assert_all_arrived(site, consumer, 3 * RECORDS * TAGS)
        site.stop()

    assert (cause or "did not acknowledge a message within 2 s") in named
    assert repeats <= 100 * len(line.connections), "one window for each connection"


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        pytest.param(Line.reset, "closed the connection", id="RST"),
        pytest.param(Line.cut, "closed the connection", id="FIN"),
        pytest.param(Line.orphan, "did not acknowledge a message within 2 s", id="half-open"),
        pytest.param(
            lambda line: line.half_close(IN), "closed the connection", id="half-closed in"
        ),
        pytest.param(
            lambda line: line.half_close(OUT),
            "TLSV1_ALERT_DECODE_ERROR|closed the connection",  # mosquitto says why
            id="half-closed out",
        ),
    ],
)
def test_a_connection_that_breaks_is_replaced_and_the_reason_is_logged(
    site: Site,
    broker: Broker,
    consumer: Consumer,
    fault: Callable[[Line], None],
    cause: str,
) -> None:
    """Seen to bite, half-open: with what was in flight taken for settled."""
    with Line(broker.port) as line:
        broken_in_between(site, line, consumer, fault)
        assert_all_arrived(site, consumer, 2 * RECORDS * TAGS)
        site.stop()

    assert re.search(cause, site.log)


@pytest.mark.parametrize(
    ("bits_per_s", "delay_s", "records"),
    [pytest.param(64_000, 0.0, 20, id="64 kbit/s"), pytest.param(0, 0.4, 60, id="800 ms")],
)
def test_a_slow_line_is_no_outage(
    site: Site,
    broker: Broker,
    consumer: Consumer,
    bits_per_s: float,
    delay_s: float,
    records: int,
) -> None:
    """With the settings as they come: their patience is for lines like these."""
    with Line(broker.port, bits_per_s=bits_per_s, delay_s=delay_s) as line:
        site.configure(line.port, drain="ordered")  # Two lanes would tell newest values twice.
        site.fill(records, TAGS)
        site.start()
        consumer.wait_until(lambda: consumer.has(records * TAGS), "it arrives")
        assert site.detail["state"] == "online"
        assert len(line.connections) == 1, "over one connection"
        repeats = assert_all_arrived(site, consumer, records * TAGS)
        site.stop()

    assert repeats == 0


def test_a_line_breaks_as_it_says() -> None:
    """The fault must be the one that its name says: what is held is kept, RST is no FIN."""
    with socket.create_server(("127.0.0.1", 0)) as server, Line(server.getsockname()[1]) as line:
        near, far = pair(server, line)
        line.hold(OUT)
        near.sendall(b"held")
        far.sendall(b"back")
        assert near.recv(4) == b"back", "the other direction is open"
        far.settimeout(0.2)
        with pytest.raises(TimeoutError):
            far.recv(4)
        line.release()
        far.settimeout(10)
        assert far.recv(4) == b"held"
        line.half_close(OUT)
        assert far.recv(4) == b"", "the end is told"
        far.sendall(b"back")
        assert near.recv(4) == b"back", "and the other direction is open"
        near.close()
        far.close()
        near, far = pair(server, line)
        line.reset()
        for each in (near, far):
            with each, pytest.raises(ConnectionResetError):
                each.recv(4)


def pair(server: socket.socket, line: Line) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection over the line."""
    server.settimeout(10)
    near = socket.create_connection(("127.0.0.1", line.port), 10)
    far, _ = server.accept()
    far.settimeout(10)
    near.sendall(b"-")
    assert far.recv(1) == b"-", "the line forwards"
    return near, far
