"""Goal: a birth states what is true now, also of a tag that changed long before the process began.

Method: a real queue and a real cursor; each story ends with a new `Current`, as a process begins.

Seen to bite: kept values with their old sequences (a new epoch's records then never counted); the
look from the end of the queue alone.
"""

from pathlib import Path

import numpy as np
import pytest

from common.block import Layout, Part
from common.queue import Bounds, Cursor, QueueReader, QueueWriter
from common.records import Column, Plan, ValueType
from uplink.newest import Newest
from uplink.sparkplug.book import Book
from uplink.sparkplug.config import SparkplugConfig
from uplink.sparkplug.current import LOOK_BACK_RECORDS, NOTE, Current
from uplink.sparkplug.naming import Names
from uplink.surroundings import Identity

ROOT = "Acme/SiteA"
T_NS = 1_733_904_005_000_000_000


def plan(group: str, *names: str) -> Plan:
    columns = tuple(
        Column(name, f"{ROOT}/Press/{name}", "DB1", "REAL", ValueType.FLOAT64) for name in names
    )
    return Plan("s7", "press", group, "Press", 250, columns)


RARE, OFTEN = plan("rare", "Recipe"), plan("often", "Speed")


class Gateway:
    """A queue, and what one process after another knows of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "queue"
        self.opened: list[QueueReader | Cursor] = []

    def append(self, of: Plan, *values: float) -> None:
        self.close()
        queue = QueueWriter.create(self.path, Bounds(capacity_bytes=2**26))
        layout = Layout(of)
        parts = [
            Part(layout, T_NS + i, {ValueType.FLOAT64: np.array([value])}, 1)
            for i, value in enumerate(values)
        ]
        queue.append(parts, plans=[of])
        queue.close()

    def process(self) -> Current:
        self.close()
        reader = QueueReader.open(self.path)
        cursor = Cursor.open(self.path, "uns", epoch=reader.epoch)
        self.opened = [reader, cursor]
        current = Current(reader, Newest(), cursor)
        current.look()
        return current

    def close(self) -> None:
        for each in self.opened:
            each.close()
        self.opened = []


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


def known(current: Current) -> dict[str, object]:
    identity = Identity("g1", 1, ROOT, f"{ROOT}/_edge/g1")
    book = Book(Names(SparkplugConfig(), identity), aliases=True)
    book.begin(current.plans)
    samples = {name: current.sample(each) for name, each in book.devices["Press"].items()}
    return {name: each and each.value for name, each in samples.items()}


def test_the_end_of_the_queue_is_known_and_what_is_far_behind_is_not(gateway: Gateway) -> None:
    gateway.append(RARE, 7.0)
    gateway.append(OFTEN, *map(float, range(LOOK_BACK_RECORDS + 10)))

    assert known(gateway.process()) == {"Recipe": None, "Speed": LOOK_BACK_RECORDS + 9.0}
    gateway.close()


def test_what_was_kept_is_known_to_the_next_process(gateway: Gateway) -> None:
    gateway.append(RARE, 7.0)
    gateway.process().keep()
    gateway.append(OFTEN, *map(float, range(LOOK_BACK_RECORDS + 10)))

    assert known(gateway.process()) == {"Recipe": 7.0, "Speed": LOOK_BACK_RECORDS + 9.0}
    gateway.close()


def test_what_the_queue_tells_counts_before_what_was_kept(gateway: Gateway) -> None:
    gateway.append(RARE, 7.0)
    gateway.process().keep()
    gateway.append(RARE, 8.0)

    assert known(gateway.process()) == {"Recipe": 8.0}
    gateway.close()


def test_a_plan_that_a_reload_has_replaced_gives_way_to_the_new_one(gateway: Gateway) -> None:
    gateway.append(RARE, 7.0)
    gateway.process().keep()
    gateway.append(plan("rare", "Order"), 1.0)

    assert known(gateway.process()) == {"Order": 1.0}
    gateway.close()


def test_a_note_that_cannot_be_read_costs_what_was_kept_and_no_more(gateway: Gateway) -> None:
    gateway.append(RARE, 7.0)
    gateway.process()
    cursor = gateway.opened[1]
    assert isinstance(cursor, Cursor)
    cursor.keep_note(NOTE, b"\xc1")

    assert known(gateway.process()) == {"Recipe": 7.0}
    gateway.close()
