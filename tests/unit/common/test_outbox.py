"""Goal: a scan in the outbox outlives its process; what is dropped is counted, never silent.

Method: real ring files, reopened as the next process would; a copy of the file taken between
two steps stands for a kill at that instant.
"""

import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from common.errors import TailraceError
from common.outbox import (
    GROUPS_MAX,
    SCAN_BYTES_MAX,
    GroupCount,
    Outbox,
    boot_id,
    group_key_hash,
)
from common.records import Column, Plan, ValueType

SMALL_BYTES = 64 * 1024
RING_AT = 36_864
"""Where the ring begins in the file."""


def plan_of(group: str = "fast") -> Plan:
    column = Column("a", "Acme/a", "holding:0:INT16", "INT16", ValueType.INT64)
    return Plan("modbus", "meter", group, "Meter", 1_000, (column,))


def contents(outbox: Outbox) -> list[bytes]:
    return [
        outbox.payload(entry)
        for sequence in range(outbox.oldest, outbox.sequence + 1)
        if (entry := outbox.entry(sequence))
    ]


def test_scans_are_found_again_by_the_next_process(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path, "modbus", SMALL_BYTES)
    outbox.remember(plan_of())
    for i in range(10):
        outbox.put(plan_of(), f"scan {i}".encode(), 1)
    outbox.acknowledge(4)
    epoch = outbox.epoch
    outbox.close()

    found = Outbox.open(tmp_path, "modbus", SMALL_BYTES)

    assert contents(found) == [f"scan {i}".encode() for i in range(4, 10)]
    assert (found.epoch, found.oldest, found.sequence) == (epoch, 5, 10), "the stream goes on"
    assert found.plans == {plan_of().fingerprint: plan_of().encoded}, "its scans can be explained"


def test_counts_go_on_over_a_restart_even_when_nothing_waits(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path, "modbus", SMALL_BYTES)
    for _ in range(3):
        outbox.put(plan_of(), b"x", 7)
    outbox.acknowledge(3)
    outbox.close()

    found = Outbox.open(tmp_path, "modbus", SMALL_BYTES)
    found.put(plan_of(), b"y", 7)
    entry = found.entry(4)

    assert entry is not None, "the sequence goes on at 4"
    assert (entry.scan_count, entry.sample_count) == (4, 28)


def test_a_full_outbox_drops_the_oldest_and_counts_them(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path, "modbus", SMALL_BYTES)
    for i in range(1_000):
        outbox.put(plan_of(), f"{i:04}".encode() * 100, 5)

    kept = contents(outbox)
    newest = outbox.entry(1_000)

    assert kept[-1] == b"0999" * 100, "the newest is never the one dropped"
    assert kept == [f"{i:04}".encode() * 100 for i in range(1_000 - len(kept), 1_000)]
    assert outbox.dropped_scans == 1_000 - len(kept)
    assert newest is not None
    assert (newest.scan_count, newest.sample_count) == (1_000, 5_000), "the dropped ones count"


def test_a_scan_too_large_for_the_ring_is_dropped_and_counted(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path, "modbus", SMALL_BYTES)
    outbox.put(plan_of(), bytes(SMALL_BYTES), 9)
    outbox.put(plan_of(), b"small", 1)

    assert contents(outbox) == [b"small"]
    entry = outbox.entry(outbox.sequence)
    assert entry is not None
    assert (entry.scan_count, entry.sample_count) == (2, 10), "the next scan shows the loss"


def test_a_scan_larger_than_a_message_is_dropped_however_large_the_ring(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path, "modbus", 5 * SCAN_BYTES_MAX)
    outbox.put(plan_of(), bytes(SCAN_BYTES_MAX), 1)
    outbox.put(plan_of(), bytes(SCAN_BYTES_MAX + 1), 1)

    assert (outbox.depth, outbox.dropped_scans) == (1, 1)


def test_a_group_too_large_is_named_once_with_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = Outbox.open(tmp_path, "modbus", SMALL_BYTES)
    for _ in range(3):
        for group in ("fast", "slow"):
            outbox.put(plan_of(group), bytes(20_000), 9)

    said = [(r.getMessage(), getattr(r, "fields", {})) for r in caplog.records]
    assert [fields["group"] for _, fields in said] == ["fast", "slow"], "once each"
    assert all("split the group" in text for text, _ in said)
    assert said[0][1] == {
        "device": "meter",
        "group": "fast",
        "bytes": 20_000,
        "bytes_max": SMALL_BYTES // 4,
    }


def test_counts_name_the_groups_of_today_and_know_the_others_by_their_hash(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path, "modbus", SMALL_BYTES)
    assert not outbox.recovered
    for group in ("today", "past"):
        outbox.remember(plan_of(group))
        outbox.put(plan_of(group), b"x", 3)
    outbox.close()
    found = Outbox.open(tmp_path, "modbus", SMALL_BYTES)
    found.remember(plan_of("today"))

    assert found.recovered
    assert found.counts() == [
        GroupCount(group_key_hash("meter", "today"), "meter", "today", 1, 3),
        GroupCount(group_key_hash("meter", "past"), "", "", 1, 3),
    ]


def test_beginning_anew_gives_up_what_waits_and_its_numbers(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path, "modbus", SMALL_BYTES)
    outbox.put(plan_of(), b"x", 3)
    epoch = outbox.epoch
    outbox.begin_anew()

    assert outbox.epoch != epoch
    assert (outbox.depth, outbox.sequence, outbox.counts()) == (0, 0, [])
    outbox.put(plan_of(), b"y", 3)
    outbox.close()
    found = Outbox.open(tmp_path, "modbus", SMALL_BYTES)
    assert contents(found) == [b"y"]


def test_two_rings_never_share_an_epoch_even_in_the_same_second(tmp_path: Path) -> None:
    epochs = {Outbox.open(tmp_path / str(i), "modbus", SMALL_BYTES).epoch for i in range(50)}

    assert len(epochs) == 50, "a box without a battery boots at the same instant every time"
    assert max(epochs) < 2**53, "a JSON number for everybody"


def test_a_file_system_without_room_ends_in_words_not_in_sigbus(tmp_path: Path) -> None:
    with pytest.raises(TailraceError, match="make room there"):
        Outbox.open(tmp_path, "modbus", 2**60)


def test_groups_of_past_configurations_make_room_for_those_of_today(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path, "modbus", SMALL_BYTES)
    outbox.remember(plan_of("today"))
    outbox.put(plan_of("today"), b"x", 3)
    for i in range(GROUPS_MAX + 5):
        outbox.put(plan_of(f"past{i}"), b"x", 1)
    outbox.put(plan_of("today"), b"x", 3)

    assert outbox.counts_of("meter", "today") == (2, 6), "counts of today's groups go on"
    outbox.close()
    found = Outbox.open(tmp_path, "modbus", SMALL_BYTES)
    assert found.counts_of("meter", "today") == (2, 6)


def test_a_kill_while_past_groups_make_room_costs_no_count_of_today(tmp_path: Path) -> None:
    """The counts of today's groups move to the front, and go on counting there.

    Seen to bite: with the table emptied before it is written anew, half of the counts are 0; with
    the rest of it not emptied, or from the wrong end, old counts come back.
    """
    folder = tmp_path / "plans"
    folder.mkdir()
    today = [plan_of(f"today{i}") for i in range(40)]
    whole = KilledAtWrite(RING_AT + SMALL_BYTES)
    outbox = Outbox(whole, folder, SMALL_BYTES)
    outbox.take_over()
    for plan in today[:20]:
        outbox.put(plan, b"x", 3)
    for i in range(GROUPS_MAX - 40):
        outbox.put(plan_of(f"past{i}"), b"x", 1)
    for plan in today[20:]:
        outbox.put(plan, b"x", 3)
    for killed_at in [*range(0, 1_100, 13), *range(36, 48)]:
        ring = KilledAtWrite(whole)
        outbox = Outbox(ring, folder, SMALL_BYTES)
        outbox.take_over()
        for plan in today:
            outbox.remember(plan)
        ring.writes_left = killed_at
        counts = [(1, 3)] * 40
        with suppress(Killed):
            outbox.put(plan_of("new"), b"x", 1)
            ring.writes_left = 10**9
            outbox.put(today[30], b"x", 3)
            counts[30] = (2, 6)
        next_ring = bytearray(ring)
        found = Outbox(next_ring, folder, SMALL_BYTES)
        found.take_over()
        for plan in today:
            found.remember(plan)

        assert [found.counts_of("meter", plan.group) for plan in today] == counts
        found.put(today[35], b"x", 3)
        found.put(plan_of("newer"), b"x", 1)
        counts[35] = (2, 6)
        again = Outbox(bytearray(next_ring), folder, SMALL_BYTES)
        again.take_over()
        assert [again.counts_of("meter", plan.group) for plan in today] == counts
        assert again.counts_of("meter", "newer") == (1, 1)


def test_a_hole_between_two_scans_of_the_ring_begins_a_new_epoch(tmp_path: Path) -> None:
    """Each record is whole by itself, but one of them is an older one: somebody copied pages."""
    outbox = Outbox.open(tmp_path, "modbus", SMALL_BYTES)
    for i in range(4):
        outbox.put(plan_of(), f"scan {i}".encode(), 1)
    epoch = outbox.epoch
    outbox.close()
    ring = tmp_path / "modbus.ring"
    data = bytearray(ring.read_bytes())
    size = 56
    data[RING_AT + size : RING_AT + 2 * size] = data[RING_AT + 2 * size : RING_AT + 3 * size]
    ring.write_bytes(data)

    found = Outbox.open(tmp_path, "modbus", SMALL_BYTES)

    assert (found.depth, found.epoch != epoch) == (0, True)


def test_a_tag_table_too_large_for_a_message_is_refused_in_words(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path, "modbus", SMALL_BYTES)
    column = Column("a", "Acme/a", "x", "INT16", ValueType.INT64, description="y" * 9 * 1024**2)
    plan = Plan("modbus", "meter", "fast", "Meter", 1_000, (column,))

    with pytest.raises(TailraceError, match="meter/fast takes"):
        outbox.remember(plan)


def test_a_reboot_begins_a_new_epoch_without_the_old_scans(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path, "modbus", SMALL_BYTES)
    outbox.put(plan_of(), b"before", 1)
    epoch = outbox.epoch
    outbox.close()
    ring = tmp_path / "modbus.ring"
    ring.write_bytes(ring.read_bytes().replace(boot_id(), bytes(15) + b"\x01", 1))

    found = Outbox.open(tmp_path, "modbus", SMALL_BYTES)

    assert found.epoch != epoch, "sequences of another boot are never mistaken for these"
    assert contents(found) == []


@pytest.mark.parametrize("seed", range(30))
def test_any_instant_of_a_kill_leaves_a_ring_that_goes_on(tmp_path: Path, seed: int) -> None:
    """Random puts and acknowledgements; the file is reopened as it stands after each step."""
    choose = random.Random(seed)
    outbox = Outbox.open(tmp_path, "modbus", SMALL_BYTES)
    for step in range(200):
        if choose.random() < 0.7:
            outbox.put(plan_of(), choose.randbytes(choose.randint(1, 9_000)), 1)
        else:
            outbox.acknowledge(choose.randint(outbox.oldest - 1, outbox.sequence))
        if step % 20 == 0:
            copy = tmp_path / "copy"
            copy.mkdir(exist_ok=True)
            (copy / "modbus.ring").write_bytes((tmp_path / "modbus.ring").read_bytes())
            found = Outbox.open(copy, "modbus", SMALL_BYTES)
            assert contents(found) == contents(outbox)
            assert (found.epoch, found.sequence) == (outbox.epoch, outbox.sequence)
            found.close()


def test_a_damaged_ring_begins_a_new_epoch_instead_of_sending_garbage(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path, "modbus", SMALL_BYTES)
    outbox.put(plan_of(), b"precious", 1)
    epoch = outbox.epoch
    outbox.close()
    ring = tmp_path / "modbus.ring"
    ring.write_bytes(ring.read_bytes().replace(b"precious", b"precioux"))

    found = Outbox.open(tmp_path, "modbus", SMALL_BYTES)

    assert contents(found) == []
    assert found.epoch != epoch


class Killed(Exception):
    """SIGKILL arrived."""


class KilledAtWrite(bytearray):
    """A ring whose process is killed before its n-th write."""

    writes_left = 10**9

    def __setitem__(self, place: object, value: object) -> None:
        self.writes_left -= 1
        if self.writes_left < 0:
            raise Killed
        super().__setitem__(place, value)  # type: ignore[index, assignment]


def test_a_kill_between_any_two_writes_keeps_every_promise(tmp_path: Path) -> None:
    """Seen to bite: with the tail moved only after its bytes were overwritten, it fails."""
    folder = tmp_path / "plans"
    folder.mkdir()
    whole = KilledAtWrite(RING_AT + SMALL_BYTES)
    Outbox(whole, folder, SMALL_BYTES).take_over()
    for killed_at in range(0, 600, 7):
        ring = KilledAtWrite(whole)
        outbox = Outbox(ring, folder, SMALL_BYTES)
        outbox.take_over()
        ring.writes_left = killed_at
        choose = random.Random(killed_at)
        promised: list[bytes] = []
        try:
            for i in range(150):
                scan = f"{i}".encode() + choose.randbytes(choose.randint(1, 4_000))
                outbox.put(plan_of(), scan, 1)
                promised.append(scan)
                if i % 40 == 0:
                    outbox.acknowledge(outbox.sequence - 2)
        except Killed:
            pass
        found = Outbox(bytearray(ring), folder, SMALL_BYTES)
        found.take_over()

        assert found.epoch == outbox.epoch, "the ring goes on"
        waiting = contents(found)
        assert waiting == promised[found.oldest - 1 : found.oldest - 1 + len(waiting)]
        assert found.sequence == len(promised), "every scan that was promised, no other"


WRITER = """
import sys
from pathlib import Path
from common.outbox import Outbox
from tests.unit.common.test_outbox import plan_of
outbox = Outbox.open(Path(sys.argv[1]), "modbus", 65536)
for i in range(10**9):
    outbox.put(plan_of(), f"scan {i}".encode() * 20, 1)
    print(i, flush=True)
    if i % 7 == 0:
        outbox.acknowledge(outbox.sequence - 3)
"""


@pytest.mark.process
@pytest.mark.parametrize("seed", range(5))
def test_every_promised_scan_is_found_after_sigkill(tmp_path: Path, seed: int) -> None:
    lines = random.Random(seed).randint(50, 2_000)
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for _ in range(lines):
        promised = int(child.stdout.readline())
    child.kill()
    promised = max([promised, *map(int, child.stdout.read().split("\n")[:-1])])
    child.wait(timeout=5)
    child.stdout.close()

    found = Outbox.open(tmp_path, "modbus", SMALL_BYTES)

    assert found.sequence >= promised + 1, "nothing promised is missing"
    assert contents(found) == [
        f"scan {sequence - 1}".encode() * 20 for sequence in range(found.oldest, found.sequence + 1)
    ], "what waits is what was put, in order"
