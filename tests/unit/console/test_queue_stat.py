"""Goal: `tailrace queue stat` and `verify` say what a queue holds, for whom, and what was lost.

Method: a real queue with real cursors; what waits for whom is counted again record by record.
"""

import shutil
from pathlib import Path

import click
import pytest

from common.health import write_health
from common.places import Places
from common.queue import Account, BacklogLimit, Cursor, Island, QueueReader, Settled
from common.queue.ledger import Loss
from common.queue.verifying import verify
from common.records import GapRecord
from console.queue_stat import shown, stat, stat_text
from console.queue_verify import verify_text
from tests.unit.console.filled_queue import IN_BODY, IN_HEADER, create, damage, fill


def places(folder: Path, *targets: str) -> Places:
    """Return the places of a gateway with these targets in it/cloud.toml."""
    (folder / "it").mkdir()
    text = "\n".join(f"[targets.{name}]" for name in targets)
    (folder / "it" / "cloud.toml").write_text(text, encoding="utf-8")
    return Places(folder, folder / "run", folder)


def drained(folder: Path, target: str, sequence: int, *islands: Island) -> None:
    """Let a target have acknowledged everything up to a sequence, and islands beyond."""
    reader = QueueReader.open(folder / "queue")
    cursor = Cursor.open(folder / "queue", target, epoch=reader.epoch)
    cursor.advance(sequence, islands=islands)
    cursor.close()
    reader.close()


@pytest.mark.parametrize("position", [0, 1, 4, 6, 7, 8, 13, 37, 40])
def test_what_waits_for_a_target_is_counted_to_the_sample(tmp_path: Path, position: int) -> None:
    """Also from the middle of a block on. Seen to bite: a block counted whole that was begun."""
    queue = create(tmp_path)
    fill(queue, 10)
    queue.close()
    where = places(tmp_path, "uns", "lake")
    drained(tmp_path, "uns", position)
    drained(tmp_path, "lake", 16)
    reader = QueueReader.open(tmp_path / "queue")
    waiting = reader.read(after=position, records_max=10_000)
    reader.close()

    found = stat(where)

    uns, lake = found.targets
    data = [record for record in waiting if not isinstance(record, GapRecord)]
    assert uns.acknowledged == position
    assert uns.records == len(data)
    assert uns.samples == sum(len(record.values) for record in data)
    assert uns.gaps == len(waiting) - len(data)
    assert (lake.target, lake.records, lake.samples, lake.gaps) == ("lake", 18, 48, 6)


@pytest.mark.parametrize(("first", "last"), [(9, 12), (10, 21), (9, 40), (30, 29), (38, 38)])
def test_what_a_target_has_beyond_its_position_does_not_wait(
    tmp_path: Path, first: int, last: int
) -> None:
    """Also parts of blocks. Seen to bite: counted by the position alone."""
    queue = create(tmp_path)
    fill(queue, 10)
    queue.close()
    drained(tmp_path, "uns", 5, Island(first, last))
    reader = QueueReader.open(tmp_path / "queue")
    records = reader.read(after=5, records_max=10_000)
    reader.close()
    waiting = [record for record in records if not first <= record.sequence <= last]
    data = [record for record in waiting if not isinstance(record, GapRecord)]

    (uns,) = stat(places(tmp_path, "uns")).targets

    assert (uns.acknowledged, uns.islands) == (5, [(first, last)])
    assert (uns.records, uns.gaps) == (len(data), len(waiting) - len(data))
    assert uns.samples == sum(len(record.values) for record in data)


def test_a_target_that_was_cut_off_is_shown_with_what_it_never_gets(tmp_path: Path) -> None:
    queue = create(tmp_path)
    fill(queue, 10)
    queue.claim_records = 8
    queue.cursors = lambda: {"uns": Settled(40), "lake": Settled(4)}
    queue.limits = {"lake": BacklogLimit(bytes_max=1)}
    while queue.cutting.step():
        pass
    queue.close()
    drained(tmp_path, "uns", 40)
    drained(tmp_path, "lake", 4)

    found = stat(places(tmp_path, "uns", "lake"))
    uns, lake = found.targets

    assert uns.cut_off is None
    assert lake.cut_off is not None
    assert (lake.cut_off.samples, lake.cut_off.up_to, lake.cut_off.told) == (7 * 8, 40, False)
    assert (lake.records, lake.samples) == (2 * 3, 2 * 8), "its claim"
    assert "cut off" in click.unstyle("\n".join(stat_text(found)))
    assert "56 samples" in click.unstyle("\n".join(stat_text(found)))


def test_delivered_is_what_every_target_has(tmp_path: Path) -> None:
    """Seen to bite: the furthest target taken for all of them; an old target still counted."""
    queue = create(tmp_path)
    fill(queue, 10)
    queue.close()
    where = places(tmp_path, "uns", "lake")
    drained(tmp_path, "uns", 40)
    drained(tmp_path, "lake", 20)
    drained(tmp_path, "former", 0)

    found = stat(where)

    assert (found.total.delivered, found.total.queued) == (5 * 8, 5 * 8)
    assert [each.holds_back for each in found.targets] == [True, True, False]
    assert any("no longer in it/cloud.toml" in line for line in stat_text(found))


def test_a_target_that_has_not_begun_is_shown_with_all_that_waits_for_it(tmp_path: Path) -> None:
    queue = create(tmp_path)
    fill(queue, 2)
    queue.close()

    found = stat(places(tmp_path, "uns"))

    (uns,) = found.targets
    assert (uns.begun, uns.acknowledged, uns.samples) == (False, 0, 16)
    assert not (tmp_path / "queue" / "cursors" / "uns").exists(), "looking creates nothing"


def test_while_cloud_toml_is_wrong_every_target_that_was_drained_to_counts(tmp_path: Path) -> None:
    queue = create(tmp_path)
    fill(queue, 2)
    queue.close()
    drained(tmp_path, "uns", 4)
    where = places(tmp_path)
    (tmp_path / "it" / "cloud.toml").write_text("[targets.uns")

    found = stat(where)

    assert [(each.target, each.samples) for each in found.targets] == [("uns", 8)]
    assert found.targets[0].holds_back


def test_an_empty_queue_is_shown(tmp_path: Path) -> None:
    create(tmp_path).close()

    found = stat(places(tmp_path, "uns"))

    assert (found.first_sequence, found.last_sequence, found.blocks) == (0, 0, 0)
    assert (found.oldest_at_ns, found.newest_at_ns) == (None, None)
    assert stat_text(found)


def test_the_ledger_is_a_sum_that_can_be_read(tmp_path: Path) -> None:
    """Per device and in total. Seen to bite: losses left out of the sum."""
    queue = create(tmp_path)
    fill(queue, 10)
    queue.close()

    found = stat(places(tmp_path, "uns"))
    lines = stat_text(found)

    press, meter = found.devices["press"], found.devices["meter"]
    assert press.collected == press.queued + press.lost_samples == 10 * 7 + 10 * 15
    assert press.lost["outbox-full"].samples == 10 * 15
    assert press.lost["outbox-full"].scans == 10 * 3
    assert meter.collected == meter.queued == 10
    assert found.total.collected == press.collected + meter.collected
    row = next(line.split() for line in lines if line.startswith("press"))
    assert row == ["press", "220", "=", "0", "+", "0", "+", "70", "+", "150"]
    assert not any("does not balance" in line for line in lines)
    assert any(line.split() == ["press", "outbox-full", "150", "30", "0"] for line in lines)


def test_a_ledger_that_does_not_balance_is_said_aloud(tmp_path: Path) -> None:
    create(tmp_path).close()
    found = stat(places(tmp_path, "uns"))
    found.total = shown(Account(collected=10, delivered=3, lost={"queue-full": Loss(1, 5)}))

    lines = stat_text(found)

    assert any("2 samples are in no column" in line for line in lines)


def test_capacity_policy_and_autonomy_are_those_of_the_running_normalizer(tmp_path: Path) -> None:
    """The disk may give less than was configured. Seen to bite: an old account believed."""
    create(tmp_path).close()
    where = places(tmp_path, "uns")
    (tmp_path / "ot").mkdir()
    (tmp_path / "ot" / "plant.toml").write_text('[queue]\ncapacity_mib = 100\nwhen_full = "thin"\n')
    (tmp_path / "run").mkdir()

    at_rest = stat(where)
    told = {"capacity_bytes": 5_000_000, "when_full": "stop-reading", "autonomy_h": 50.0}
    write_health(tmp_path / "run", "normalizer", "running", {"queue": told})
    running = stat(where)
    path = tmp_path / "run" / "health" / "normalizer.json"
    path.write_text(path.read_text().replace('"at_ns":', '"at_ns":1,"was":'))
    long_ago = stat(where)

    assert (at_rest.capacity_bytes, at_rest.when_full) == (100 * 1024**2, "thin")
    assert (at_rest.autonomy_h, at_rest.normalizer_runs) == (None, False)
    assert (running.capacity_bytes, running.when_full) == (5_000_000, "stop-reading")
    assert (running.autonomy_h, running.normalizer_runs) == (50.0, True)
    assert "2 d 2 h" in stat_text(running)[1]
    assert (long_ago.autonomy_h, long_ago.normalizer_runs) == (None, False)


def test_what_was_kept_aside_is_shown(tmp_path: Path) -> None:
    queue = create(tmp_path)
    fill(queue, 2)
    queue.close()
    (tmp_path / "queue" / "quarantine").mkdir()
    (tmp_path / "queue" / "quarantine" / "5-8.block").write_bytes(b"")
    aside = tmp_path / "queue.aside-1700000000"
    aside.mkdir()

    found = stat(places(tmp_path, "uns"))

    assert found.quarantined == [str(tmp_path / "queue" / "quarantine" / "5-8.block")]
    assert found.moved_aside == [str(aside)]
    assert str(aside) in stat_text(found)[-1]


def test_a_sound_queue_is_called_so(tmp_path: Path) -> None:
    queue = create(tmp_path)
    fill(queue, 3)

    lines = verify_text(verify(queue))
    queue.close()

    assert [click.unstyle(line) for line in lines] == [
        "OK  3 blocks, 9 records, 24 samples, 3 gaps; the ledger balances to the sample"
    ]


def test_a_damaged_body_is_named_with_its_sequences(tmp_path: Path) -> None:
    create_filled(tmp_path)
    damage(tmp_path, 1, IN_BODY)

    text = verified(tmp_path)

    assert text[0].startswith("NOT SOUND  3 blocks")
    assert text[3].split()[:2] == ["5", "8"]
    assert "checksum" in text[3]
    assert not any("LEDGER" in line for line in text), "its header still says what it held"


def test_a_damaged_header_leaves_a_difference_and_says_why(tmp_path: Path) -> None:
    create_filled(tmp_path)
    damage(tmp_path, 1, IN_HEADER)

    text = verified(tmp_path)

    assert any(line.split() == ["press/fast", "21", "14", "0"] for line in text)
    assert "A block whose header is damaged does not say what it held." in text[-1]


def test_a_wrong_ledger_over_whole_blocks_is_called_a_bug(tmp_path: Path) -> None:
    """Method: the blocks of a longer queue under the ledger of a shorter one."""
    create_filled(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    queue = create(other)
    fill(queue, 2)
    queue.close()
    reader = QueueReader.open(tmp_path / "queue")
    shorter = QueueReader.open(other / "queue")
    reader.books = lambda: (shorter.books()[0], {"press/fast": 21, "meter/power": 3})  # type: ignore[method-assign]

    text = verify_text(verify(reader))

    shorter.close()
    reader.close()
    shutil.rmtree(other)
    assert any(line.split() == ["press/fast", "14", "21", "0"] for line in text)
    assert "report it, this is a bug" in text[-1]


def create_filled(folder: Path) -> None:
    queue = create(folder)
    fill(queue, 3)
    queue.close()


def verified(folder: Path) -> list[str]:
    reader = QueueReader.open(folder / "queue")
    try:
        return [click.unstyle(line) for line in verify_text(verify(reader))]
    finally:
        reader.close()
