"""Which tag a person means, and what the explanation of it holds."""

from typing import Any

import msgspec

from common.config import suggestion
from common.errors import TailraceError
from common.records import Column, Plan
from common.trials import WordedMessage
from console.trying import Tables

SUGGESTIONS_MAX = 2_000
SHOWN_MAX = 10
MEANT_MAX = 3


class Step(msgspec.Struct, kw_only=True):
    """One step of a value's way, and what it is afterwards."""

    what: str
    value: Any
    quality: str


class Input(msgspec.Struct, kw_only=True):
    """A tag that another is made of, as it is read now."""

    tag: str
    address: str
    value: Any
    quality: str
    note: str | None = None


class Live(msgspec.Struct, kw_only=True):
    """One reading, made for this explanation."""

    asked: str
    """In the protocol's own terms."""
    raw: str | None
    """Hexadecimal; None where the protocol sends typed values."""
    reply_s: float
    read_at: str
    source_at: str | None
    note: str | None


class Filter(msgspec.Struct, kw_only=True):
    """What the normalizer would do with the value that was read now."""

    outcome: str
    why: str


class LastTold(msgspec.Struct, kw_only=True):
    """The newest sample of the tag that the queue holds."""

    sequence: int
    index: int
    value: Any
    quality: str
    read_at: str
    source_at: str | None
    age_s: float
    repeated: bool
    earlier_table: list[str]
    """What has changed in the tag's row since it was written."""


class TargetState(msgspec.Struct, kw_only=True):
    """Whether one target has the newest sample."""

    target: str
    acknowledged: int
    """Every sequence up to it."""
    state: str
    """`acknowledged`, `waiting`, `set aside`, `cut off`, `not configured`, `not begun`."""
    behind: int
    """Sequences up to that of the sample which it has not acknowledged."""
    last_ack_age_s: float | None
    reason: str | None = None
    """Why it was set aside."""


class Window(msgspec.Struct, kw_only=True):
    """The window that is open now."""

    began_at: str
    ends_at: str
    left_s: float
    readings: int | None
    """Of its input that were told so far; None when the queue cannot be read."""


class Explanation(msgspec.Struct, kw_only=True):
    """The whole chain of one tag. No key is ever left out."""

    tag: str
    topic: str
    description: str
    device: str
    protocol: str
    group: str
    period_ms: int
    device_state: str
    address: str
    type: str
    row: str | None
    """`file:line` of the tag table."""
    unit: str
    table: list[str]
    """What the row asks for, in sentences."""
    rules: list[str]
    """When a value is told."""
    expression: str | None
    inputs: list[Input]
    window: Window | None
    live: Live | None
    live_note: str | None
    """Why nothing was read."""
    steps: list[Step]
    quality: str | None
    filter: Filter | None
    last: LastTold | None
    last_note: str | None
    """Why there is none."""
    targets: list[TargetState]
    messages: list[WordedMessage]
    message_note: str | None


class NoSuchTag(TailraceError):
    """No tag, or more than one, is meant; the text says which there are."""


def tag_meant(tables: Tables, word: str) -> tuple[Plan, int]:
    """Return the column that a topic, a tag or DEVICE/TAG means. Raises NoSuchTag."""
    folded = word.casefold()
    columns = [(plan, i, column) for plan in tables.plans for i, column in enumerate(plan.columns)]
    for plan, index, column in columns:
        if column.topic.casefold() == folded:
            return plan, index
    found = [
        (plan, index, column)
        for plan, index, column in columns
        if folded in (column.name.casefold(), f"{plan.device}/{column.name}".casefold())
    ]
    if len(found) == 1:
        return found[0][:2]
    if found:
        topics = [column.topic for _, _, column in found]
        more = f", and {len(topics) - SHOWN_MAX} more" if len(topics) > SHOWN_MAX else ""
        text = f"{len(found)} tags are called {word!r}; name one by its topic: "
        raise NoSuchTag(text + ", ".join(topics[:SHOWN_MAX]) + more)
    own = [str(each) for each in tables.findings if folded in each.where.casefold().split()[-1:]]
    if own:
        raise NoSuchTag("\n".join(own))
    names = [name for _, _, column in columns for name in (column.name, column.topic)]
    raise NoSuchTag(f"no tag or topic {word!r}{_near(word, names) if names else _nothing(tables)}")


def _near(word: str, names: list[str]) -> str:
    """Return what may have been meant: what holds the word, else what is written nearly so."""
    holding = [name for name in dict.fromkeys(names) if word.casefold() in name.casefold()]
    if holding:
        return f"; did you mean {' or '.join(map(repr, holding[:MEANT_MAX]))}?"
    near = suggestion(word, names[:SUGGESTIONS_MAX])
    return near if "did you mean" in near else "; the tag tables in ot/ name all of them"


def _nothing(tables: Tables) -> str:
    wrong = "\n".join(map(str, tables.findings[:SHOWN_MAX]))
    return f"; no device could be understood:\n{wrong}" if wrong else "; there is no device yet"


def changes(column: Column, before: Column) -> list[str]:
    """Return what is different in a column that was another one before."""
    return [
        f"{name}: {_shown(getattr(before, name))} → {_shown(getattr(column, name))}"
        for name in Column.__struct_fields__
        if getattr(before, name) != getattr(column, name)
    ]


def _shown(value: object) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value) or "nothing"
