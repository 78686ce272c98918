"""The register of one session: which metrics there are, under which numbers they are told.

Between births and data stands this book: what was worded with it may be published in the session
in which it was worded, and in no other. A new session begins with new numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass

from common.records import Column, Plan, Quality, Record
from uplink.sparkplug.judging import DATA_TYPES
from uplink.sparkplug.naming import Names
from uplink.sparkplug.wire import DataType

FIRST_ALIAS = 128
"""So that the numbers up to 16,383 are equally long on the wire: columns of equal width."""
_NO_COMMUNICATION = Quality.BAD_NO_COMMUNICATION >> 16


@dataclass(frozen=True)
class Metric:
    """One tag in the session."""

    name: str
    alias: int | None
    """None: it is told by its name."""
    datatype: DataType
    plan: Plan
    number: int
    """Of its column in the plan."""

    @property
    def column(self) -> Column:
        """What defines it."""
        return self.plan.columns[self.number]


class Book:
    """What one session has to tell, and what of it was born."""

    def __init__(self, names: Names, *, aliases: bool) -> None:
        self.names = names
        self.session = 0
        """0 before the first; data is then told by name."""
        self.mark = _mark(0)
        """What tells a message of this session from those of others; never leaves the house."""
        self.changes = 0
        """Grows with everything that makes worded data stale."""
        self.unborn = False
        """True while there is a metric that no birth of this session has named."""
        self.with_aliases = aliases
        self._aliases: dict[tuple[str, str], int] = {}
        self._devices: dict[str, dict[str, Metric]] = {}
        self._met: dict[bytes, Plan] = {}
        self._current: list[Plan] = []
        self._lost: set[bytes] = set()
        self._current_plans: Callable[[], list[Plan]] = list

    @property
    def tells_aliases(self) -> bool:
        """Whether data is told by numbers: not before the first session, which gives them."""
        return self.with_aliases and self.session > 0

    @property
    def devices(self) -> dict[str, dict[str, Metric]]:
        """Device → name → metric, of everything that may be told."""
        return self._devices

    def begin(self, current_plans: Callable[[], list[Plan]]) -> None:
        """Begin a session. `current_plans` tells, at any time, the newest plan of each group."""
        self.session += 1
        self.mark = _mark(self.session)
        self._current_plans = current_plans
        self._aliases.clear()
        self._met.clear()
        self._lost.clear()
        self._rebuild()

    def metrics_of(self, plan: Plan) -> list[Metric]:
        """Return the metric of each column of a plan; one never met makes births necessary."""
        if plan.fingerprint not in self._met:
            self._met[plan.fingerprint] = plan
            self._rebuild()
        metrics = self._devices[self.names.device(plan)]
        return [metrics[column.name] for column in plan.columns]

    def watch(self, record: Record) -> None:
        """Note whether the device behind a current record can be reached."""
        fingerprint = record.plan.fingerprint
        if record.qualities is None:
            self._lost.discard(fingerprint)
            return
        scanned = len(record.plan.scanned)
        indexes = range(len(record.values)) if record.indexes is None else record.indexes
        codes = [
            code for index, code in zip(indexes, record.qualities, strict=True) if index < scanned
        ]
        if not codes:
            return
        if all(code >> 16 == _NO_COMMUNICATION for code in codes):
            self._lost.add(fingerprint)
        else:
            self._lost.discard(fingerprint)

    def note_lost(self, plan: Plan) -> None:
        """Note that nothing of a plan could be read the last time."""
        self._lost.add(plan.fingerprint)

    def lost_devices(self) -> set[str]:
        """Return the devices of which no current plan can be read."""
        if not self._lost:
            return set()
        within: dict[str, list[bytes]] = {}
        for plan in self._current:
            within.setdefault(self.names.device(plan), []).append(plan.fingerprint)
        return {device for device, plans in within.items() if self._lost.issuperset(plans)}

    def _rebuild(self) -> None:
        """Name every metric anew: what current plans say of a name counts before older ones."""
        current = [plan for plan in self._current_plans() if plan.columns]
        for plan in current:
            self._met[plan.fingerprint] = plan
        newest = {plan.fingerprint for plan in current}
        older = [plan for key, plan in self._met.items() if key not in newest]
        self._current = current or older
        self._devices = {}
        for plan in (*older, *current):
            device = self.names.device(plan)
            metrics = self._devices.setdefault(device, {})
            for number, column in enumerate(plan.columns):
                metrics[column.name] = Metric(
                    column.name,
                    self._alias(device, column.name),
                    DATA_TYPES[column.value_type],
                    plan,
                    number,
                )
        self.changes += 1
        self.unborn = True

    def _alias(self, device: str, name: str) -> int | None:
        if not self.tells_aliases:
            return None
        return self._aliases.setdefault((device, name), FIRST_ALIAS + len(self._aliases))


def _mark(session: int) -> tuple[tuple[str, str], ...]:
    return (("sparkplug-session", str(session)),)
