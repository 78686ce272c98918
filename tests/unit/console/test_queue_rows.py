"""Goal: `tailrace queue peek` and `export` show exactly what was asked for.

Method: a real queue with blocks as they were committed, merged ones, gaps and one that is damaged,
against a plain list of what was put in.
"""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.queue import QueueReader
from common.records import Quality
from console.globs import topic_filter
from console.notation import iso_time, quality_text
from console.queue_export import CannotWrite, export, output_file, time_ns
from console.queue_peek import following, newest, peek_text
from console.queue_rows import (
    Missing,
    Row,
    Sample,
    Selection,
    missing_text,
    rows,
    value_text,
)
from tests.unit.console.filled_queue import (
    IN_BODY,
    IN_HEADER,
    START_NS,
    STEP_NS,
    Told,
    create,
    damage,
    fill,
    fill_lone_gap,
)

COMMITS = 150
LAST = COMMITS * 4 + 2
EVERYTHING = Selection(up_to=LAST)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[QueueReader, list[Told]]]:
    """Return a reader of a queue of which the older half was merged, and what it holds."""
    folder = tmp_path_factory.mktemp("filled")
    queue = create(folder)
    told = fill(queue, COMMITS) + fill_lone_gap(queue)
    while queue.maintain():
        pass
    assert 1 < queue.summary().blocks < COMMITS, "some were merged, some were not"
    queue.close()
    reader = QueueReader.open(folder / "queue")
    yield reader, told
    reader.close()


def as_row(told: Told) -> Row:
    """Return what a row of the list looks like."""
    if told.gap is not None:
        gap = told.gap
        return Missing(
            sequence=told.sequence,
            number=0,
            gap=gap.cause,
            device=gap.device,
            group=gap.group,
            first_at=iso_time(gap.first_at_ns),
            last_at=iso_time(gap.last_at_ns),
            scans=gap.scans,
            samples=gap.samples,
        )
    return Sample(
        sequence=told.sequence,
        index=told.index or 0,
        read_at=iso_time(told.read_at_ns),
        source_at=None if told.source_at_ns is None else iso_time(told.source_at_ns),
        topic=told.topic,
        value=told.value,
        unit=told.unit,
        quality=told.quality,
    )


def test_every_value_and_gap_is_shown_in_order_and_without_loss(
    filled: tuple[QueueReader, list[Told]],
) -> None:
    """Types that a float would spoil are among them.

    Seen to bite: source times left out, gaps left out, the place in the scan for the index.
    """
    reader, told = filled

    assert list(rows(reader, EVERYTHING)) == [as_row(each) for each in told]


TIMES = st.none() | st.builds(
    lambda step, ns: START_NS + step * STEP_NS + ns, st.integers(-1, LAST + 2), st.integers(-6, 10)
)


@given(
    after=st.integers(0, LAST + 2),
    up_to=st.integers(0, LAST + 2),
    from_ns=TIMES,
    to_ns=TIMES,
    glob=st.sampled_from([None, "*", "press", "Meter", "*Strokes", "frame", "nowhere"]),
)
def test_a_selection_leaves_out_what_was_not_asked_for_and_nothing_else(
    filled: tuple[QueueReader, list[Told]],
    after: int,
    up_to: int,
    from_ns: int | None,
    to_ns: int | None,
    glob: str | None,
) -> None:
    """Blocks are skipped by their headers; here every row is judged by itself.

    Seen to bite: a block skipped when it merely begins before `from_ns`, or when it holds gaps
    and no wanted data; gaps of any group shown beside another's tag.
    """
    reader, told = filled
    wanted = None if glob is None else topic_filter(glob)

    def right(each: Told) -> bool:
        first_ns = each.gap.first_at_ns if each.gap else each.read_at_ns
        in_time = (from_ns is None or each.read_at_ns >= from_ns) and (
            to_ns is None or first_ns < to_ns
        )
        if each.gap is not None:
            named = glob not in ("Meter", "nowhere")
        else:
            named = wanted is None or wanted(each.topic)
        return after < each.sequence <= up_to and in_time and named

    selection = Selection(after=after, up_to=up_to, from_ns=from_ns, to_ns=to_ns, wanted=wanted)

    found = list(rows(reader, selection))

    assert found == [as_row(each) for each in told if right(each)]


def test_a_time_window_holds_its_beginning_and_not_its_end(
    filled: tuple[QueueReader, list[Told]],
) -> None:
    """So that windows side by side show every value once. Seen to bite: either end moved by 1."""
    reader, told = filled
    from_ns, to_ns = told[7].read_at_ns, told[16].read_at_ns

    found = list(rows(reader, Selection(up_to=LAST, from_ns=from_ns, to_ns=to_ns)))

    assert found == [as_row(each) for each in told if from_ns <= each.read_at_ns < to_ns]
    assert {each.sequence for each in found} == {4, 5, 6, 7}


@pytest.mark.parametrize("glob", [None, "meter", "*Running"])
@pytest.mark.parametrize("count", [1, 2, 3, 20, 560, 100_000])
def test_peek_shows_the_newest_however_far_back_they_are(
    filled: tuple[QueueReader, list[Told]], count: int, glob: str | None
) -> None:
    """Seen to bite: looking back only once, or not to the very first, finds too few of a tag."""
    reader, told = filled
    wanted = None if glob is None else topic_filter(glob)
    of_tag = [each for each in told if (wanted and wanted(each.topic)) or glob is None]
    if glob == "*Running":
        of_tag = [each for each in told if each.gap is not None or each.topic.endswith("Running")]

    found = newest(reader, count, wanted)

    assert found == [as_row(each) for each in of_tag[-count:]]


def test_peek_after_a_sequence_goes_on_where_another_ended(
    filled: tuple[QueueReader, list[Told]],
) -> None:
    reader, told = filled
    later = [each for each in told if each.sequence > 10]

    assert following(reader, 10, 7, None) == [as_row(each) for each in later[:7]]
    assert following(reader, LAST, 7, None) == []


def test_peek_says_in_a_sentence_what_a_gap_misses(
    filled: tuple[QueueReader, list[Told]],
) -> None:
    reader, _ = filled

    lines = peek_text(following(reader, 2, 3, None))

    assert len(lines) == 5, "a header, a gap with its sentence, two values"
    assert "15 samples in 3 scans of press/fast missing from 2023-11-14T22:13:21.1" in lines[2]
    assert lines[2].endswith("(outbox-full)")
    assert "BadTimeout" in lines[4]


def test_a_damaged_block_is_shown_as_a_gap_between_its_neighbours(tmp_path: Path) -> None:
    queue = create(tmp_path)
    told = fill(queue, 3)
    queue.close()
    damage(tmp_path, 1, IN_BODY)
    reader = QueueReader.open(tmp_path / "queue")

    found = list(rows(reader, Selection(up_to=12)))
    reader.close()

    whole = [as_row(each) for each in told if not 4 < each.sequence <= 8]
    gaps = [each for each in found if isinstance(each, Missing) and each.gap == "block-damaged"]
    assert [each for each in found if each not in gaps] == whole
    known = {(each.device, each.samples) for each in gaps}
    assert {("press", 7), ("meter", 1)} <= known, "its header still says how much it held"


def test_a_block_whose_header_is_damaged_is_shown_as_a_gap_of_unknown_size(tmp_path: Path) -> None:
    """Seen to bite: a block without a readable header skipped."""
    queue = create(tmp_path)
    fill(queue, 3)
    queue.close()
    damage(tmp_path, 1, IN_HEADER)
    reader = QueueReader.open(tmp_path / "queue")

    found = list(rows(reader, Selection(up_to=12, wanted=topic_filter("press"))))
    reader.close()

    (gap,) = (each for each in found if isinstance(each, Missing) and each.gap == "block-damaged")
    assert (gap.sequence, gap.device, gap.samples) == (8, "", 0)
    assert "an unknown number of samples of unknown devices" in missing_text(gap)


def test_csv_comes_back_from_a_csv_reader_as_it_was(
    filled: tuple[QueueReader, list[Told]],
) -> None:
    """Quotes, line ends and umlauts are among the values."""
    reader, told = filled
    out = io.StringIO(newline="")

    done = export(reader, EVERYTHING, "csv", out)

    out.seek(0)
    found = list(csv.DictReader(out))
    assert (done.samples, done.gaps) == (COMMITS * 8 + 1, COMMITS + 1)
    assert len(found) == len(told)
    for row, each in zip(found, told, strict=True):
        assert row["sequence"] == str(each.sequence)
        if each.gap is not None:
            assert (row["topic"], row["index"]) == ("", "")
            assert row["quality"].startswith("gap: 15 samples in 3 scans of press/fast missing")
            continue
        assert (row["topic"], row["unit"]) == (each.topic, each.unit)
        assert row["quality"] == each.quality
        assert row["value"] == value_text(each.value)


def test_json_lines_say_the_same(filled: tuple[QueueReader, list[Told]]) -> None:
    reader, told = filled
    out = io.StringIO(newline="")

    export(reader, EVERYTHING, "jsonl", out)

    found = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(found) == len(told)
    assert [each["gap"] for each in found if "gap" in each] == ["outbox-full"] * (COMMITS + 1)
    assert found[1]["value"] == 2**64 - 1, "an integer stays one"
    assert found[3]["value"] == "AP8=", "bytes in base64"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1 + 0.2, "0.30000000000000004"),
        (float("nan"), "nan"),
        (2**64 - 1, "18446744073709551615"),
        (True, "true"),
        (False, "false"),
        (None, ""),
        (b"\x00\xff", "AP8="),
        ("a,b", "a,b"),
    ],
)
def test_a_value_becomes_text_without_loss(value: object, text: str) -> None:
    assert value_text(value) == text


@pytest.mark.parametrize(
    ("at_ns", "text"),
    [
        (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456789Z"),
        (0, "1970-01-01T00:00:00.000000000Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
    ],
)
def test_a_time_is_written_to_the_nanosecond(at_ns: int, text: str) -> None:
    assert iso_time(at_ns) == text


@pytest.mark.parametrize(
    ("text", "at_ns"),
    [
        ("1970-01-02", 86_400 * 10**9),
        ("2023-11-14T22:13:20", 1_700_000_000 * 10**9),
        ("2023-11-14T23:13:20.123456+01:00", 1_700_000_000_123_456_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000 * 10**9),
    ],
)
def test_a_time_without_a_zone_is_utc(text: str, at_ns: int) -> None:
    """Seen to bite: read as local time on a machine that is not on UTC."""
    assert time_ns(text) == at_ns


def test_an_unknown_status_code_still_says_how_good_the_value_is() -> None:
    assert quality_text(0x80FF0000) == "Bad 0x80FF0000"
    assert quality_text(Quality.UNCERTAIN) == "Uncertain"


def test_an_output_file_is_never_overwritten_unasked(tmp_path: Path) -> None:
    """Seen to bite: without the look at the path its content is gone."""
    path = tmp_path / "export.csv"
    path.write_text("mine")

    with pytest.raises(CannotWrite, match="--force"), output_file(path, force=False):
        pass

    assert path.read_text() == "mine"


def test_an_output_file_is_whole_or_not_there(tmp_path: Path) -> None:
    """Seen to bite: writing under the name itself leaves half a file that looks like a whole."""
    path = tmp_path / "export.csv"

    def interrupted() -> None:
        with output_file(path, force=False) as file:
            file.write("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert list(tmp_path.iterdir()) == []
    path.write_text("old")
    with output_file(path, force=True) as file:
        file.write("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
