"""Goal: a replay counts what the gateway would tell, tag by tag, under another table too."""

import io
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings

from common.rawscans import GroupLine, ScanLine, encode_line
from common.records import Column, Plan, Quality, Scan, ValueType, WindowValue
from common.trials import Replay, Replayed, ReplayRefused, SampleLine, packed
from normalizer.columns import GroupNormalizer
from normalizer.rehearsing import published
from normalizer.replaying import Table, answered
from tests.unit.normalizer.test_columns import plants

S = 1_000_000_000
START_NS = 1_700_000_040 * S


def plan_of(*columns: Column, group: str = "fast", device: str = "press") -> Plan:
    return Plan("s7", device, group, "Press", 1_000, columns)


def column(name: str, **rules: Any) -> Column:
    return Column(name, f"Acme/{name}", "a", "REAL", ValueType.FLOAT64, **rules)


def recording(folder: Path, tags: list[str], scans: list[list[Any]], **more: Any) -> Path:
    """Write a recording of a scan a second."""
    path = folder / "shift.jsonl"
    lines = [encode_line(GroupLine(device="press", group="old", tags=tags))]
    lines += [
        encode_line(ScanLine(of=0, at_ns=START_NS + at * S, values=values, **more))
        for at, values in enumerate(scans)
    ]
    path.write_bytes(b"".join(lines))
    return path


def replayed(path: Path, *plans: Plan, against: list[Plan] | None = None) -> Replayed:
    other = None if against is None else [plan.encoded for plan in against]
    asked = Replay(path=str(path), plans=[plan.encoded for plan in plans], against=other)
    found = answered(asked, io.BytesIO())
    assert isinstance(found, Replayed)
    return found


@settings(max_examples=150, deadline=None)
@given(plants())
def test_what_is_counted_is_what_a_normalizer_tells(plant: tuple[Plan, list[Scan]]) -> None:
    """Seen to bite: with the values of a scan in the recording's order instead of the plan's."""
    plan, scans = plant
    table = Table([plan])
    # The recording has the tags the other way round.
    names = [each.name for each in plan.columns][::-1]
    table.group(GroupLine(device="press", group="g", tags=names))
    normalizer = GroupNormalizer(plan)
    told: dict[str, int] = {}
    for scan in scans:
        part = normalizer.normalise(scan)
        parts = [part] if part else []
        parts += [due for due, _ in normalizer.due(scan.read_at_ns, alive=True)]
        for each in (each for part in parts for each in published(part)):
            told[each.column.name] = told.get(each.column.name, 0) + 1
        count = len(names)
        indexes = list(range(count)) if scan.indexes is None else scan.indexes
        order = sorted(range(len(indexes)), key=lambda at: -indexes[at])
        line = ScanLine(
            of=0,
            at_ns=scan.read_at_ns,
            values=[],
            indexes=[count - 1 - indexes[at] for at in order],
            qualities=None if scan.qualities is None else [scan.qualities[at] for at in order],
        )
        table.take(line, [scan.values[at] for at in order])

    found = table.done()

    assert {each.tag: each.told for each in found.tags if each.told} == told
    assert (found.unknown, found.missing) == ([], [])


def test_each_reason_is_counted_for_itself(tmp_path: Path) -> None:
    plan = plan_of(
        column("Band", deadband=1.0),
        column("Slow", min_interval_ms=3_000),
        column("Beat", heartbeat_s=2.0, deadband=9.0),
        column("Limit", maximum=2.0),
        column("Mean", made=WindowValue("mean", 0, 3.0)),
    )
    scans: list[list[Any]] = [[float(at)] * 4 for at in range(7)]

    found = replayed(recording(tmp_path, ["Band", "Slow", "Beat", "Limit"], scans), plan)

    counts = {
        each.tag: (each.read, each.told, each.held, each.repeated, each.not_good)
        for each in found.table.tags
    }
    assert counts == {
        "Band": (7, 4, 0, 0, 0),
        "Slow": (7, 3, 4, 0, 0),
        "Beat": (7, 4, 0, 3, 0),
        "Limit": (7, 7, 0, 0, 4),
        "Mean": (0, 2, 0, 0, 0),
    }
    assert (found.scans, found.last_at_ns - found.first_at_ns) == (7, 6 * S)


def test_a_tag_is_found_by_its_name_in_whatever_group_it_is_now(tmp_path: Path) -> None:
    one, two = plan_of(column("A")), plan_of(column("C"), column("B"), group="slow")
    stranger = plan_of(column("A"), device="meter")
    path = recording(tmp_path, ["A", "B", "Gone"], [[1.0, 2.0, 3.0], [1.5, 2.5, 3.5]])

    found = replayed(path, one, two, stranger).table

    assert {each.tag: each.told for each in found.tags} == {"A": 2, "C": 0, "B": 2}
    assert (found.unknown, found.missing) == (["press/Gone"], ["press/C"])


def test_two_tables_are_compared_on_the_same_scans(tmp_path: Path) -> None:
    path = recording(tmp_path, ["A"], [[0.0], [0.4], [0.8]])

    found = replayed(path, plan_of(column("A")), against=[plan_of(column("A", deadband=0.5))])

    assert found.against is not None
    assert (found.table.tags[0].told, found.against.tags[0].told) == (3, 2)


def test_every_value_that_is_told_can_be_shown(tmp_path: Path) -> None:
    path = recording(tmp_path, ["A"], [[1.0], [packed(float("nan"))]], source_at_ns=[START_NS])
    asked = Replay(path=str(path), plans=[plan_of(column("A", unit="bar")).encoded], show=True)
    out = io.BytesIO()

    answered(asked, out)

    lines = [msgspec.json.decode(line, type=SampleLine) for line in out.getvalue().splitlines()]
    assert [(each.sample.value, each.sample.quality) for each in lines] == [
        (1.0, Quality.GOOD),
        (None, Quality.BAD_OUT_OF_RANGE),
    ]
    assert (lines[0].sample.unit, lines[0].sample.source_at_ns) == ("bar", START_NS)


def refused(path: Path, *plans: Plan) -> str:
    found = answered(Replay(path=str(path), plans=[each.encoded for each in plans]), io.BytesIO())
    assert isinstance(found, ReplayRefused)
    return found.text


def test_what_cannot_be_replayed_says_why(tmp_path: Path) -> None:
    plan = plan_of(column("A"))

    assert "holds no scan; make one: tailrace record DEVICE > FILE" in refused(
        recording(tmp_path, ["A"], []), plan
    )
    assert "shift.jsonl:2: [1] is no value: a number" in refused(
        recording(tmp_path, ["A"], [[[1]]]), plan
    )
    assert "cannot be read" in refused(tmp_path / "nothing", plan)
    early = tmp_path / "early.jsonl"
    group = GroupLine(device="press", group="g", tags=["A"])
    early.write_bytes(encode_line(group) + encode_line(ScanLine(of=0, at_ns=-1, values=[1.0])))
    assert "early.jsonl:2: read time -1 is not an instant" in refused(early, plan)
