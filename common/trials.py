"""What is said to `python -m normalizer.trial`, and what it answers: JSON, for a person's question.

The console compiles nothing and normalises nothing: it takes plans from the collectors
(`python -m collectors.plans`) and has them tried by the normalizer, which stores nothing then.

    compiled   of the collectors: every group's plan, and what is wrong with the configuration
    rehearsal  scans as a clock would bring them, run by run → for each step what was told, and why
    question   one reading and what was last told of its tag → each step of its way, and the verdict
"""

import math
from typing import Any

import msgspec

from common.errors import Finding


class Compiled(msgspec.Struct, kw_only=True):
    """The OT half, compiled as the collectors compile it."""

    plans: list[bytes]
    """Encoded plans of the devices that have nothing wrong."""
    findings: list[Finding]


class RawScan(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One reading of a group, before it means anything. Values are `packed`."""

    plan: bytes
    """Fingerprint."""
    values: list[Any]
    indexes: list[int] | None = None
    qualities: list[int] | None = None
    source_at_ns: list[int | None] | None = None


class Step(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An instant: the clock goes on to it, then the scans come."""

    at_ns: int
    scans: list[RawScan] = []
    restart: bool = False
    """Before the scans the gateway is started anew, and remembers what was committed alone."""


class Run(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Steps in order of time, beginning with a gateway that remembers nothing."""

    steps: list[Step]
    asked: list[str] = []
    """Topics whose decisions are wanted with their reasons."""


class Rehearsals(msgspec.Struct, kw_only=True):
    """Runs that know nothing of each other."""

    plans: list[bytes]
    runs: list[Run]


class Link(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One step of a value's way, and what it is afterwards."""

    what: str
    """`* 0.01 + 5`, `bits 4-7`, `held within 0 … 100`."""
    value: Any = None
    quality: int = 0


class Sample(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One value that was told, as it would stand in the queue."""

    topic: str
    value: Any = None
    unit: str = ""
    quality: int = 0
    read_at_ns: int
    source_at_ns: int | None = None


class Decision(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What became of one value of a scan."""

    topic: str
    value: Any = None
    quality: int = 0
    at_ns: int
    outcome: str
    """`told`, `repeated`, `held` (told when the minimum interval is over) or `unchanged`."""
    why: str
    last_value: Any = None
    last_at_ns: int | None = None
    """Of what had been told before; None: nothing, or it was forgotten."""
    chain: list[Link] = []
    """From the raw value on; empty for what the gateway makes."""


class StepOutcome(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a step brought, the time before it included."""

    told: list[Sample] = []
    decisions: list[Decision] = []
    """Of the columns that were asked for."""


class Outcomes(msgspec.Struct, kw_only=True):
    """Of every run, the outcome of every step."""

    runs: list[list[StepOutcome]]


class Last(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What was last told of a tag."""

    value: Any = None
    quality: int = 0
    at_ns: int


class Question(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One reading of one column, and what had been told of it."""

    plan: bytes
    column: int
    value: Any = None
    quality: int = 0
    at_ns: int
    last: Last | None = None


class Questions(msgspec.Struct, kw_only=True):
    """All of one moment."""

    questions: list[Question]


class Verdicts(msgspec.Struct, kw_only=True):
    """An answer to each question, in their order."""

    decisions: list[Decision]


class Replay(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A recording (common/rawscans.py), to be normalised under some plans."""

    path: str
    plans: list[bytes]
    against: list[bytes] | None = None
    """Another configuration's plans, for comparison."""
    show: bool = False
    """Whether each sample that is told is wanted, not only their number."""


class SampleLine(
    msgspec.Struct, kw_only=True, omit_defaults=True, tag_field="replay", tag="sample"
):
    """One value that was told."""

    sample: Sample


class TagReplayed(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What became of one tag."""

    device: str
    tag: str
    topic: str
    read: int = 0
    """Values that were read, or made."""
    told: int = 0
    """Of them, or later: those that a minimum interval had held back and windows included."""
    repeated: int = 0
    """Of those told: only because of a heartbeat."""
    held: int = 0
    """Came too soon after the last; told later unless a newer one came before."""
    not_good: int = 0
    """Of those read: Uncertain or Bad after normalising."""


class TableReplayed(msgspec.Struct, kw_only=True):
    """A recording under one configuration."""

    tags: list[TagReplayed]
    """In the order of the tag tables; those of devices that were recorded."""
    unknown: list[str]
    """DEVICE/TAG of the recording that the tables do not have."""
    missing: list[str]
    """DEVICE/TAG of the tables that the recording does not have."""


class Replayed(msgspec.Struct, kw_only=True, tag_field="replay", tag="done"):
    """A recording, normalised."""

    scans: int
    first_at_ns: int
    last_at_ns: int
    devices: list[str]
    table: TableReplayed
    against: TableReplayed | None


class ReplayRefused(msgspec.Struct, kw_only=True, tag_field="replay", tag="refused"):
    """Why a recording cannot be replayed, for the person who made it."""

    text: str


ReplayLine = SampleLine | Replayed | ReplayRefused


class WordedMessage(msgspec.Struct, kw_only=True):
    """One sample, as one target gets it; it may need several messages."""

    target: str
    profile: str
    topic: str
    payload: str
    retain: bool
    headers: list[tuple[str, str]] = []
    """What is said beside the payload, in order."""


class Worded(msgspec.Struct, kw_only=True):
    """What `python -m uplink.wording` says of one sample of the queue; empty when it is gone."""

    messages: list[WordedMessage]


def packed(value: Any) -> Any:
    """Return a raw or published value as JSON holds it: no value becomes another."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    return value


def unpacked(value: Any) -> Any:
    """Return what was packed. Raises ValueError for what no value can be."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case {"float": str(text), **others} if not others:
            return float(text)
        case {"bytes": str(text), **others} if not others:
            return bytes.fromhex(text)
    raise ValueError(
        f"{value!r} is no value: a number, a text, true, false, null, "
        '{"float":"nan"} or {"bytes":"00ff"}'
    )
