"""Goal: the sockets of the handoff are bounded, and a long absence of the normalizer costs nothing.

Method: the real receiver. Against it a collector process with a ring full of scans, and plain
ZeroMQ sockets that flood, babble, and send what is too large.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import zmq

from common.handoff import Delivery, HandoffReceiver, handoff_address
from common.handoff.receiver import MESSAGE_COST_BYTES, RECEIVE_MESSAGES_MAX
from common.handoff.wire import HELLO, MESSAGE_BYTES_MAX, VERSION, Hello
from common.records import Position, decode_scan
from tests.model.test_handoff_model import Far, Near, wait_for_all

pytestmark = pytest.mark.process

BACKLOG = 100_000
COLLECTOR = """
import asyncio, sys
from pathlib import Path
from common.handoff import HandoffSender, handoff_address
from common.outbox import Outbox
from common.records import Scan
from tests.model.test_handoff_model import PLAN

async def main(run_dir, count):
    outbox = Outbox.open(run_dir / "outbox", "modbus")
    address = handoff_address(run_dir)
    sender = HandoffSender(address=address, collector="modbus", outbox=outbox, plans=[PLAN])
    for number in range(count):
        sender.put(Scan(PLAN.fingerprint, number, number, [number]), PLAN)
    assert outbox.dropped_scans == 0, "the ring is large enough"
    print("all are read", flush=True)
    pump = asyncio.create_task(sender.run())
    await sender.drain(timeout_s=60)
    print(f"{outbox.depth} left", flush=True)
    pump.cancel()

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


def test_a_hundred_thousand_scans_wait_for_a_normalizer_that_was_away(tmp_path: Path) -> None:
    """It comes, takes half of them, dies with some in hand, and its successor takes the rest."""
    child = subprocess.Popen(
        [sys.executable, "-c", COLLECTOR, str(tmp_path), str(BACKLOG)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "all are read\n"
    committed: list[int] = []
    positions: dict[str, Position] = {}
    plans: set[bytes] = set()
    for share in (BACKLOG // 2, BACKLOG):
        address = handoff_address(tmp_path)
        with HandoffReceiver(address=address, committed=positions, plans=plans) as receiver:
            while len(committed) < share:
                arrived = receiver.receive(wait_s=1, gather_s=0.005, bytes_max=1 << 20)
                for each in arrived:
                    assert isinstance(each, Delivery)
                    committed += decode_scan(each.payload).values
                    positions[each.collector] = Position(each.epoch, each.sequence)
                plans |= receiver.arrived_plans.keys()
                receiver.acknowledge()
            if share < BACKLOG:
                receiver.receive(wait_s=1, gather_s=0.005, bytes_max=1 << 20)  # And dies.
                continue
            while child.poll() is None:
                receiver.receive(wait_s=0.05, gather_s=0, bytes_max=1)
    said = child.stdout.read()
    child.wait(timeout=30)
    child.stdout.close()

    assert committed == list(range(BACKLOG)), "all, once, in order"
    assert said == "0 left\n", "and the collector knows it"


@contextmanager
def stranger(address: str, name: str, window: int = 1_000) -> Iterator["zmq.Socket[bytes]"]:
    """Connect somebody who does not keep to the protocol."""
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.setsockopt(zmq.IDENTITY, name.encode())
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, window)
    socket.setsockopt(zmq.SNDTIMEO, 500)
    socket.connect(address)
    try:
        yield socket
    finally:
        socket.close()


def test_what_the_normalizer_does_not_read_stays_with_its_sender(tmp_path: Path) -> None:
    """A collector gone wrong sends without end, and the normalizer is busy with its disk.

    Seen to bite: with ZeroMQ's own default, a thousand messages are taken from each connection.
    """
    address = handoff_address(tmp_path)
    with (
        HandoffReceiver(address=address, committed={}, plans=[]),
        stranger(address, "flood", window=1) as socket,
    ):
        sent = 0
        with suppress(zmq.Again):
            while sent < 100 * RECEIVE_MESSAGES_MAX:
                socket.send_multipart([b"S", bytes(64), bytes(100_000)])
                sent += 1

    assert 1 <= sent <= 2 * RECEIVE_MESSAGES_MAX, "and what the kernel's buffers hold"


def test_a_flood_of_small_messages_does_not_keep_the_normalizer_from_its_work(
    tmp_path: Path,
) -> None:
    """Seen to bite: counted by their content alone, they are gathered for as long as they come."""
    address = handoff_address(tmp_path)
    budget = 20 * MESSAGE_COST_BYTES
    with (
        HandoffReceiver(address=address, committed={}, plans=[]) as receiver,
        stranger(address, "babble") as socket,
    ):
        hello = HELLO.pack(*Hello(VERSION, 5, 1, 0, 1, 1))
        for _ in range(500):
            socket.send_multipart([b"H", hello])
        receiver.receive(wait_s=5, gather_s=10, bytes_max=budget)
        answers = 0
        while socket.poll(300):
            socket.recv_multipart()
            answers += 1

    assert 1 <= answers <= 20, "then it returns, although more is there"


async def test_a_message_too_large_costs_nobody_else_anything(tmp_path: Path) -> None:
    """Its connection is cut while it comes; it is never in memory as a whole.

    Seen to bite: without the limit it is taken, and thrown away only then.
    """
    near, far = Near(tmp_path), Far(tmp_path)
    near.put(10)
    await wait_for_all(near, far)
    with stranger(handoff_address(tmp_path), "large") as socket:
        cut = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        socket.send_multipart([b"P", bytes(MESSAGE_BYTES_MAX + 1)])
        assert cut.poll(10_000), "cut off"
        socket.disable_monitor()
        cut.close()
        near.put(10)
        await wait_for_all(near, far)

    assert far.committed == list(range(20))
    await near.crash()
    far.crash()


@pytest.mark.parametrize("name", ["../../etc", "ä", "a b", "x" * 200])
def test_a_name_that_is_none_of_a_collector_is_refused(tmp_path: Path, name: str) -> None:
    address = handoff_address(tmp_path)
    with (
        HandoffReceiver(address=address, committed={}, plans=[]) as receiver,
        stranger(address, name) as socket,
    ):
        socket.send_multipart([b"H", HELLO.pack(*Hello(VERSION, 5, 1, 0, 1, 1))])
        receiver.receive(wait_s=10, gather_s=0, bytes_max=1)
        assert socket.poll(10_000)
        assert socket.recv_multipart()[0] == b"R"
