"""What stands in the device at this moment, and what the normalizer would make of it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from common.answers import ReadingTold, Wrong
from common.expressions import Formula, Moment, understood
from common.places import Places
from common.records import Column, Expression, Plan, Quality, ValueType
from common.trials import Decision, Last, Question, Questions, packed, unpacked
from console.asking import NoAnswer, answers
from console.explain_queue import Told
from console.trying import Tables, judged

NEEDS_BEFORE = "rate and prev need the reading before, which only the running gateway has"


class Reading(NamedTuple):
    """One tag, read now."""

    tag: str
    told: ReadingTold


def read_now(
    places: Places, tables: Tables, device: str, tags: Sequence[str], timeout_s: float
) -> tuple[list[Reading], str | None]:
    """Return a reading of each tag of a device's asset, and why there are not all of them."""
    columns = tables.of_asset(device)
    by_device: dict[str, list[str]] = {}
    for tag in tags:
        giver = columns[tag][0].device if tag in columns else device
        by_device.setdefault(giver, []).append(tag)
    found: list[Reading] = []
    notes: list[str] = []
    for giver, names in by_device.items():
        try:
            with answers(places, "read", [f"--timeout={timeout_s}"], giver, names) as told:
                for each in told:
                    if isinstance(each, ReadingTold):
                        found.append(Reading(each.tag or each.asked, each))
                    elif isinstance(each, Wrong):
                        notes.append(f"{each.asked}: {each.text}")
        except NoAnswer as error:
            notes.append(str(error))
    return found, "\n".join(notes) or None


def raw_value(told: ReadingTold, column: Column) -> Any:
    """Return the raw value again: on its way here what JSON cannot hold became text."""
    if isinstance(told.value, str) and column.value_type is ValueType.FLOAT64:
        return float(told.value)
    if isinstance(told.value, str) and column.value_type is ValueType.BYTES:
        return bytes.fromhex(told.value)
    return told.value


def decided(
    tables: Tables, readings: Sequence[Reading], device: str, last: Told | None
) -> list[Decision]:
    """Return what becomes of each reading; `last` is of the tag that they were made for."""
    columns = tables.of_asset(device)
    questions = []
    for tag, told in readings:
        plan, index = columns[tag]
        own = last if last is not None and last.column.topic == plan.columns[index].topic else None
        value = packed(raw_value(told, plan.columns[index]))
        questions.append(_question(plan, index, (value, told.quality), told.read_at_ns, own))
    return judged(Questions(questions=questions)).decisions


def calculated(
    plan: Plan, index: int, inputs: dict[str, Decision], last: Told | None
) -> tuple[Decision | None, str | None]:
    """Return what becomes of an expression over its inputs, or why that cannot be said."""
    column = plan.columns[index]
    assert isinstance(column.made, Expression)  # noqa: S101 - the caller looked
    formula = understood(column.made.text)
    assert isinstance(formula, Formula)  # noqa: S101 - windows are columns of another kind
    values = {tag: unpacked(each.value) for tag, each in inputs.items()}
    missing = [name for name in formula.inputs if not isinstance(values.get(name), int | float)]
    if missing:
        return None, f"there is no number of {', '.join(missing)}"
    at_ns = max(each.at_ns for each in inputs.values())
    worst = max((each.quality for each in inputs.values()), key=lambda code: code >> 30)
    numbers = {name: float(values[name]) for name in formula.inputs}
    try:
        value = formula.evaluate(Moment(numbers, at_ns / 1e9, {}))
    except ArithmeticError as error:
        return None, f"there is no such number ({error}): it would be told without a value, Bad"
    if value is None:
        return None, NEEDS_BEFORE
    made: Any = value != 0 if column.value_type is ValueType.BOOL else value
    question = _question(plan, index, (packed(made), worst), at_ns, last)
    return judged(Questions(questions=[question])).decisions[0], None


def _question(
    plan: Plan, index: int, reading: tuple[Any, int], at_ns: int, last: Told | None
) -> Question:
    value, quality = reading
    same = last is not None and last.column.value_type is plan.columns[index].value_type
    return Question(
        plan=plan.encoded,
        column=index,
        value=value,
        quality=quality or Quality.GOOD,
        at_ns=at_ns,
        last=Last(
            value=packed(last.record.values[last.place]),
            quality=last.code,
            at_ns=last.record.read_at_ns,
        )
        if same and last is not None
        else None,
    )
