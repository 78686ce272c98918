"""Goal: what is newest of every tag is known by sequence, whatever order it was met in."""

import numpy as np

from common.records import Column, Plan, Record, ValueType
from uplink.newest import Newest


def plan_of(*names: str, group: str = "process") -> Plan:
    columns = tuple(
        Column(name, f"Acme/SiteA/Press/{name}", "DB1.DBD0", "REAL", ValueType.FLOAT64)
        for name in names
    )
    return Plan("s7", "press", group, "Press", 250, columns)


PLAN = plan_of("A", "B", "C")


def record(sequence: int, *values: float, plan: Plan = PLAN, **fields: object) -> Record:
    return Record(sequence, plan, sequence * 1_000, list(values), **fields)  # type: ignore[arg-type]


def test_the_newest_of_each_tag_stands_under_its_own_sequence() -> None:
    newest = Newest()
    newest.note(record(1, 1.0, 2.0, 3.0))
    newest.note(record(3, 9.0, indexes=[1], qualities=[0x40000000], source_at_ns=[7]))

    found = list(newest.records(after=0, up_to=10))

    assert [(each.sequence, each.indexes, each.values) for each in found] == [
        (1, [0, 2], [1.0, 3.0]),
        (3, [1], [9.0]),
    ]
    assert (found[0].qualities, found[1].qualities) == (None, [0x40000000])
    assert (found[0].source_at_ns, found[1].source_at_ns) == (None, [7])
    assert found[1].read_at_ns == 3_000


def test_an_older_record_that_comes_later_changes_nothing() -> None:
    newest = Newest()
    for sequence in np.random.default_rng(1).permutation(20):
        newest.note(record(int(sequence) + 1, float(sequence), indexes=[0]))

    (found,) = newest.records(after=0, up_to=20)

    assert (found.sequence, found.values) == (20, [19.0])


def test_of_a_table_that_was_replaced_nothing_is_newest() -> None:
    newest, other = Newest(), plan_of("A")
    newest.note(record(1, 1.0, 2.0, 3.0))
    newest.note(record(2, 5.0, plan=other))

    assert newest.plans() == [other]
    assert [each.plan for each in newest.records(after=0, up_to=9)] == [other]


def test_only_what_lies_in_the_span_is_given() -> None:
    newest = Newest()
    newest.note(record(1, 1.0, indexes=[0]))
    newest.note(record(5, 5.0, indexes=[1]))

    assert [each.sequence for each in newest.records(after=1, up_to=5)] == [5]
    assert list(newest.records(after=5, up_to=9)) == []
