"""Made columns of one group: what is calculated from what the device gave.

Works on the readings before the deadband: a counter, a rate or a mean of what was told only would
be wrong. Inputs that a scan does not bring are as they were read last.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from common.expressions import Before, Formula, Moment, understood
from common.records import (
    Column,
    CounterDelta,
    CounterTotal,
    Expression,
    Plan,
    Quality,
    ValueType,
    WindowValue,
)
from normalizer.counters import CounterState, counted
from normalizer.windows import Closed, Window

LATENESS_NS = 2_000_000_000
"""A window is closed by the clock so long after its end: a scan may still be on its way."""
_NS_PER_S = 1_000_000_000


class Read(NamedTuple):
    """The last reading of one column."""

    value: Any
    quality: int
    at_ns: int
    device: str


class MadeValue(NamedTuple):
    """A value of a made column. `forced`: an event, to be told although it equals the last one."""

    column: int
    value: Any
    quality: int
    forced: bool = False


class ClosedWindow(NamedTuple):
    """A window's result, of one column."""

    column: int
    closed: Closed


def inputs_of(plan: Plan) -> set[str]:
    """Return the names that the plan's expressions ask for, of whichever device of the asset."""
    texts = [each.made.text for each in plan.columns if isinstance(each.made, Expression)]
    formulas = [understood(text) for text in texts]
    return {name for each in formulas if isinstance(each, Formula) for name in each.inputs}


def asset_of(plan: Plan) -> str:
    """Return the whole path of the plan's asset: two lines may each have a press."""
    first = plan.columns[0]
    return first.topic.removesuffix(first.name)


class AssetMemory:
    """The last readings of one asset, by tag name; shared by the groups of all its devices."""

    def __init__(self) -> None:
        self.reads: dict[str, Read] = {}
        self.wanted: set[str] = set()
        """Names that an expression of any group asks for: others are not remembered."""
        self.axes: dict[str, int] = {}
        """Device/group → how its scans' two clocks lay to each other (timing.py)."""
        self._begun: dict[str, set[str]] = {}
        """Device → groups of which the collector that runs now has read something."""

    def begin(self, plan: Plan) -> None:
        """Take note of the first scan of a group since its collector was started.

        With the first of all groups what was read of the device before is dropped: it was read
        under a table that may be over, and may mean another thing under the one in effect.
        """
        begun = self._begun.setdefault(plan.device, set())
        if plan.group in begun:
            begun.clear()
            for name in [each for each, read in self.reads.items() if read.device == plan.device]:
                del self.reads[name]
        begun.add(plan.group)


class Derivation:
    """The made columns of one plan, and what they remember."""

    def __init__(
        self,
        plan: Plan,
        counters: Mapping[str, CounterState] | None = None,
        memory: AssetMemory | None = None,
    ) -> None:
        self._plan = plan
        self._memory = memory or AssetMemory()
        self._before: dict[str, Before] = {}
        self._made = list(enumerate(plan.columns))[len(plan.scanned) :]
        self._formulas: dict[int, Formula] = {}
        self._windows: dict[int, Window] = {}
        self._increments: dict[int, tuple[int, int]] = {}
        """Counter → increment and quality of the scan in hand."""
        self._counters: dict[str, CounterState] = {}
        self.changed_counters: dict[str, CounterState] = {}
        """States to commit with the records of the last scan."""
        own: set[int] = set()
        for index, column in self._made:
            match column.made:
                case Expression(text=text):
                    formula = understood(text)
                    assert isinstance(formula, Formula)  # noqa: S101 - windows have their own kind
                    self._formulas[index] = formula
                    self._memory.wanted.update(formula.inputs)
                case WindowValue(function=function, of=of, window_s=window_s):
                    self._windows[index] = Window(function, int(window_s * _NS_PER_S))
                    own.add(of)
                case CounterTotal(of=of) | CounterDelta(of=of):
                    own.add(of)
        self._own = own
        if counters:
            keys = map(self.key, own)
            self._counters = {key: counters[key] for key in keys if key in counters}
        self.resumed = False
        """True for a scan before which nobody was reading: the windows around it are Uncertain."""
        self._deltas = [i for i, column in self._made if isinstance(column.made, CounterDelta)]
        self._quiet: set[int] = set()
        """Increments that were told once: from then on a 0 is no news."""
        self._names = [column.name for column in plan.scanned]

    @property
    def watched(self) -> list[int]:
        """Scanned columns whose readings are needed, ascending; empty for most plans."""
        wanted = self._memory.wanted
        if not wanted and not self._own:
            return []
        return [i for i, name in enumerate(self._names) if i in self._own or name in wanted]

    def key(self, column: int) -> str:
        """Return the name under which a counter's state is kept."""
        plan = self._plan
        return f"{plan.device}/{plan.group}/{plan.columns[column].name}"

    def take(self, at_ns: int, readings: Mapping[int, tuple[Any, int]]) -> list[MadeValue]:
        """Return what follows from a scan: column → value (None: there is none) and quality."""
        self.changed_counters = {}
        for index, (value, quality) in readings.items():
            self._memory.reads[self._names[index]] = Read(value, quality, at_ns, self._plan.device)
        made = [
            value
            for index, column in self._made
            if (value := self._value(index, column, readings, at_ns)) is not None
        ]
        for index, (value, _) in readings.items():
            if isinstance(value, int | float):
                self._before[self._names[index]] = Before(float(value), at_ns / _NS_PER_S)
        return made

    def closed(self, at_ns: int, readings: Mapping[int, tuple[Any, int]]) -> list[ClosedWindow]:
        """Return the windows that a scan closes."""
        found = []
        for index, window in self._windows.items():
            made = self._plan.columns[index].made
            assert isinstance(made, WindowValue)  # noqa: S101 - as they were chosen
            if made.of in readings:
                value, quality = readings[made.of]
                number = float(value) if isinstance(value, int | float) else None
                closed = window.add(at_ns, number, quality)
                if self.resumed:
                    closed = [each.doubted() for each in closed]
                    window.doubt()
                found += [ClosedWindow(index, each) for each in closed]
        return found

    def cut(self, step_ns: int) -> list[ClosedWindow]:
        """Return the windows that a step of the clock ends before their time.

        Rates of change go on: what was read before is moved to the new time.
        """
        for name, before in self._before.items():
            self._before[name] = before._replace(at_s=before.at_s + step_ns / _NS_PER_S)
        return [
            ClosedWindow(index, each)
            for index, window in self._windows.items()
            for each in window.cut()
        ]

    @property
    def waits(self) -> bool:
        """True when a window may be closed by the clock."""
        return bool(self._windows)

    def closed_by(self, now_ns: int) -> list[ClosedWindow]:
        """Return the windows that are over, and whose last readings have arrived."""
        return [
            ClosedWindow(index, each)
            for index, window in self._windows.items()
            for each in window.close(now_ns - LATENESS_NS)
        ]

    def settle(
        self,
        columns: npt.NDArray[np.uint16],
        forced: npt.NDArray[np.bool_],
        tell: npt.NDArray[np.bool_],
    ) -> None:
        """Decide of the increments: each that is one is told, none that is not."""
        for place in np.flatnonzero(np.isin(columns, self._deltas)).tolist():
            tell[place] = forced[place] or (tell[place] and int(columns[place]) not in self._quiet)
            self._quiet.add(int(columns[place]))

    def _value(
        self, index: int, column: Column, readings: Mapping[int, tuple[Any, int]], at_ns: int
    ) -> MadeValue | None:
        match column.made:
            case CounterTotal(of=of, modulus=modulus) if of in readings:
                return self._count(index, of, modulus, *readings[of])
            case CounterDelta(of=of) if of in readings:
                return self._increment(index, of, *readings[of])
            case Expression():
                return self._calculated(index, readings, at_ns)
        return None

    def _count(self, index: int, of: int, modulus: int, raw: Any, quality: int) -> MadeValue:
        """Advance the counter; its delta column, which stands behind, shows by how much."""
        key = self.key(of)
        before = self._counters.get(key)
        if not isinstance(raw, int):
            return MadeValue(index, None, quality or Quality.BAD)
        address = self._plan.columns[of].address
        elsewhere = before is not None and before.address not in ("", address)
        if before is not None and elsewhere:
            # Another counter under the same name: it counts on, and nothing was counted between.
            before = CounterState(raw, before.total)
        result = counted(before, raw, modulus)
        state = msgspec.structs.replace(result.state, address=address)
        if state != self._counters.get(key):
            self._counters[key] = self.changed_counters[key] = state
        code = quality or (Quality.UNCERTAIN if elsewhere else result.quality)
        self._increments[of] = (result.delta, code)
        return MadeValue(index, state.total, code)

    def _increment(self, index: int, of: int, raw: Any, quality: int) -> MadeValue:
        if not isinstance(raw, int):
            return MadeValue(index, None, quality or Quality.BAD)
        delta, code = self._increments[of]  # Its total stands before it.
        return MadeValue(index, delta, code, forced=delta != 0)

    def _calculated(
        self, index: int, readings: Mapping[int, tuple[Any, int]], at_ns: int
    ) -> MadeValue | None:
        formula = self._formulas[index]
        here = {self._names[each] for each in readings}
        if not here.intersection(formula.inputs):
            return None
        value, quality = self._evaluated(formula, at_ns)
        truth = self._plan.columns[index].value_type is ValueType.BOOL
        return MadeValue(index, value != 0 if truth and value is not None else value, quality)

    def _evaluated(self, formula: Formula, at_ns: int) -> tuple[float | None, int]:
        """Return value and quality: the worst of its inputs'."""
        values: dict[str, float] = {}
        worst = Quality.GOOD
        for name in formula.inputs:
            read = self._memory.reads.get(name)
            if read is None:
                return None, Quality.BAD_WAITING_FOR_INITIAL_DATA
            worst = max(worst, read.quality, key=lambda code: code >> 30)
            if not isinstance(read.value, int | float):
                return None, worst or Quality.BAD_TYPE_MISMATCH
            values[name] = float(read.value)
        try:
            value = formula.evaluate(Moment(values, at_ns / _NS_PER_S, self._before))
        except ArithmeticError:
            return None, Quality.BAD_OUT_OF_RANGE
        if value is None:
            return None, worst or Quality.BAD_WAITING_FOR_INITIAL_DATA
        return (value, worst) if math.isfinite(value) else (None, Quality.BAD_OUT_OF_RANGE)
