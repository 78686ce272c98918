"""Goal: what a person drops is exactly what was announced, is booked, and is told to the targets.

Method: a real queue with real cursors; afterwards the queue is read record by record.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from common.block import Layout, Part
from common.errors import TailraceError
from common.places import Places
from common.process import hold_role
from common.queue import Island, QueueReader, QueueWriter
from common.queue.verifying import verify
from common.records import GapRecord, Plan, ValueType
from console import queue_drop
from console.queue_drop import (
    Doomed,
    Limit,
    NormalizerRuns,
    doomed_text,
    drop,
    nothing_text,
    preview,
)
from tests.unit.console.filled_queue import (
    IN_HEADER,
    START_NS,
    STEP_NS,
    column,
    create,
    damage,
    fill,
)
from tests.unit.console.test_queue_stat import drained, places

COMMITS = 10
NOISE = Layout(
    Plan(
        "simulated",
        "noise",
        "fast",
        "Noise",
        100,
        tuple(column("Noise", f"t{i}", ValueType.FLOAT64) for i in range(1_000)),
    )
)
PER_COMMIT = {"records": 3, "samples": 8}


@pytest.fixture
def where(tmp_path: Path) -> Places:
    """Return a stopped gateway with ten blocks: uns has had three of them, lake only one."""
    queue = create(tmp_path)
    fill(queue, COMMITS)
    queue.close()
    drained(tmp_path, "uns", 12)
    drained(tmp_path, "lake", 4)
    return places(tmp_path, "uns", "lake")


def silent(_done: int, _blocks: int) -> None:
    """Show no progress."""


def remaining(where: Places) -> list[int]:
    """Return the sequences of the data that is left."""
    reader = QueueReader.open(where.queue_dir)
    found = reader.read(after=0, records_max=10_000)
    reader.close()
    return [each.sequence for each in found if not isinstance(each, GapRecord)]


def sound(where: Places) -> bool:
    """Return whether blocks and ledger agree to the sample."""
    reader = QueueReader.open(where.queue_dir)
    found = verify(reader)
    reader.close()
    return found.sound


def test_a_preview_tells_what_would_go_and_changes_nothing(where: Places) -> None:
    before = remaining(where)

    found = preview(where, Limit(up_to=20))

    assert (found.blocks, found.up_to, found.records, found.samples) == (4, 20, 12, 32)
    assert (found.first_at_ns, found.last_at_ns) == (
        START_NS + 5 * STEP_NS - 3,  # Of the gap that is in the first block.
        START_NS + 17 * STEP_NS + 3,
    )
    assert {each.target: each.samples for each in found.targets} == {"uns": 16, "lake": 32}
    assert remaining(where) == before
    text = doomed_text(found, "Would drop")
    assert "12 records with 32 samples, up to sequence 20" in text[0]


def test_a_drop_takes_what_was_announced_and_books_it(where: Places) -> None:
    """Seen to bite: the last blocks left, gaps put in no place."""
    announced = preview(where, Limit(up_to=20))

    done = drop(where, Limit(up_to=20), silent)

    assert (done.blocks, done.samples) == (announced.blocks, announced.samples)
    assert done.lost["dropped-by-operator"].samples == announced.samples
    assert done.lost["dropped-by-operator"].scans == announced.records
    assert done.lost.keys() == {"dropped-by-operator"}
    left = [sequence for sequence in remaining(where) if sequence > 4]
    assert left == [s for s in range(21, 41) if s % 4 != 3], "the third of each four is a gap"
    assert sound(where)


def test_each_target_is_told_of_a_gap_and_older_gaps_are_not_lost(where: Places) -> None:
    """Seen to bite: dropped blocks removed without anything in their place."""
    drop(where, Limit(up_to=20), silent)
    reader = QueueReader.open(where.queue_dir)

    found = reader.read(after=12, up_to=20)

    reader.close()
    gaps = [each.gap for each in found if isinstance(each, GapRecord)]
    assert len(gaps) == len(found)
    told = {(gap.device, gap.cause): gap.samples for gap in gaps}
    assert told["press", "dropped-by-operator"] == 2 * 7, "what uns has not had, and no more"
    assert told["meter", "dropped-by-operator"] == 2
    assert told["press", "outbox-full"] == 2 * 15


def test_only_whole_blocks_go(where: Places) -> None:
    found = drop(where, Limit(up_to=19), silent)

    assert (found.up_to, found.cut_block_ends_at) == (16, 20)
    assert 17 in remaining(where)


def test_a_limit_within_the_first_block_drops_nothing_and_says_what_would(where: Places) -> None:
    drained(where.data_dir, "lake", 12)

    found = drop(where, Limit(up_to=13), silent)

    assert found.nothing
    assert "--up-to 16" in nothing_text(found)
    assert len(remaining(where)) == COMMITS * PER_COMMIT["records"]


def test_a_block_of_which_a_target_has_had_a_part_stays_and_is_named(where: Places) -> None:
    """Seen to bite: announced as dropped, though the queue leaves it alone."""
    drained(where.data_dir, "lake", 6)

    done = drop(where, Limit(up_to=20), silent)

    assert (done.blocks, done.samples) == (3, 24)
    assert done.lost["dropped-by-operator"].samples == 24
    assert {each.target: each.samples for each in done.targets} == {"uns": 16, "lake": 24}
    assert remaining(where)[3:6] == [5, 6, 8]
    assert doomed_text(done, "Dropped")[-1].startswith("What lake has had a part of stays")


def test_what_a_target_has_beyond_its_position_is_not_lost_to_it(where: Places) -> None:
    """Seen to bite: by positions alone, lake was to lose what it had had."""
    drained(where.data_dir, "lake", 4, Island(17, 24))

    done = drop(where, Limit(up_to=40), silent)

    waited = {each.target: each.samples for each in done.targets}
    assert waited == {"uns": 7 * 8, "lake": 7 * 8}
    reader = QueueReader.open(where.queue_dir)
    gaps = [each for each in reader.read(after=4, up_to=16) if isinstance(each, GapRecord)]
    reader.close()
    assert sum(each.gap.samples for each in gaps if each.gap.cause != "outbox-full") == 3 * 8


def test_before_a_time_means_read_before_it(where: Places) -> None:
    """Seen to bite: a block that ends after the time, taken for its beginning."""
    ends_ns = START_NS + 17 * STEP_NS + 3

    at_its_end = preview(where, Limit(before_ns=ends_ns))
    after_it = preview(where, Limit(before_ns=ends_ns + 1))

    assert (at_its_end.up_to, after_it.up_to) == (16, 20)


def test_all_is_all_that_some_target_waits_for(where: Places) -> None:
    """Also beside the cursor of a target that there was once.

    Seen to bite: by every cursor that is there, what all targets have is booked as lost.
    """
    drained(where.data_dir, "former", 0)

    done = drop(where, Limit(), silent)

    assert done.samples == 9 * PER_COMMIT["samples"]
    assert remaining(where) == [1, 2, 4], "what everybody has is not lost, only in the way"
    assert sound(where)
    assert preview(where, Limit()).nothing, "twice drops nothing twice"


def test_without_any_target_nobody_has_had_anything(tmp_path: Path) -> None:
    queue = create(tmp_path)
    fill(queue, 2)
    queue.close()
    where = places(tmp_path)

    done = drop(where, Limit(), silent)

    assert done.samples == 2 * PER_COMMIT["samples"]
    assert remaining(where) == []


def test_progress_is_told_step_by_step(where: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to bite: the last blocks forgotten when they do not fill a step."""
    monkeypatch.setattr(queue_drop, "_BLOCKS_PER_STEP", 4)
    told: list[tuple[int, int]] = []

    drop(where, Limit(), lambda done, blocks: told.append((done, blocks)))

    assert told == [(4, 9), (8, 9), (9, 9)]
    assert remaining(where) == [1, 2, 4]


def test_a_damaged_block_goes_as_well_and_is_kept_aside(where: Places) -> None:
    damage(where.data_dir, 3, IN_HEADER)

    done = drop(where, Limit(up_to=20), silent)

    assert done.damaged == 1
    assert done.lost["dropped-by-operator"].samples == 3 * PER_COMMIT["samples"]
    assert done.lost["block-damaged"].samples == PER_COMMIT["samples"], "the ledger knew"
    assert [path.name for path in (where.queue_dir / "quarantine").iterdir()] == ["13-16.block"]
    assert sound(where)


def test_beside_a_normalizer_nothing_is_dropped_and_the_way_is_shown(where: Places) -> None:
    """Seen to bite: without the role's lock two writers share one queue."""
    hold_role(where.run_dir, "normalizer")

    with pytest.raises(NormalizerRuns) as refused:
        drop(where, Limit(), silent)

    text = str(refused.value)
    assert f"TAILRACE_RUN={where.run_dir} " in text
    assert "supervisord.conf stop normalizer\n" in text
    assert "supervisord.conf start normalizer\n" in text
    assert "16 MiB" in text
    assert len(remaining(where)) == COMMITS * PER_COMMIT["records"]
    assert preview(where, Limit()).samples, "looking works all the same"


def test_another_user_is_refused_before_anything_is_touched(
    where: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root would leave files behind that the normalizer cannot open."""
    owner = where.queue_dir.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    with pytest.raises(TailraceError, match=f"belongs to user {owner}"):
        drop(where, Limit(), silent)

    assert not where.run_dir.exists()


def test_a_queue_larger_than_its_configured_capacity_loses_only_what_was_named(
    tmp_path: Path,
) -> None:
    """The capacity may have been made smaller a moment ago; that is the normalizer's to enforce.

    Seen to bite: kept in order like a normalizer's, with `drop-oldest`, it loses more on the way.
    """
    queue = create(tmp_path)
    while queue.used_bytes < 17 * 1024**2:
        fill_with_noise(queue)
    ends = [last for _, last, _ in queue.headers()]
    queue.close()
    where = places(tmp_path, "uns")
    (tmp_path / "ot").mkdir()
    (tmp_path / "ot" / "plant.toml").write_text("[queue]\ncapacity_mib = 16\n")

    done = drop(where, Limit(up_to=ends[0]), silent)

    reader = QueueReader.open(where.queue_dir)
    lost = reader.ledger().total.lost_samples
    reader.close()
    assert done.blocks == 1
    assert lost == done.samples


def fill_with_noise(queue: QueueWriter) -> None:
    """Commit a block that does not compress."""
    rng = np.random.default_rng(queue.last_sequence())
    parts = [Part(NOISE, START_NS, {ValueType.FLOAT64: rng.random(1_000)}, 1_000) for _ in range(8)]
    queue.append(parts, plans=[NOISE.plan])


def test_text_of_nothing_is_a_sentence() -> None:
    assert nothing_text(Doomed()).endswith("waiting for a target.")
