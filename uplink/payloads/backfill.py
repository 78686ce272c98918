"""Current values in one profile, the history that follows behind them in another.

History that may be retained stays in the first: then it is told in order with everything else, and
its last message is what a topic keeps. What waits behind current values, and is never retained,
completes a record of the past; there a hundred samples in a message are worth more than a topic
for each.
"""

from collections.abc import Iterable, Sequence

from common.records import GapRecord, Record
from uplink.contract import Manner, Message, Parcel, Wording


class BackfillWording:
    """Delegates to one of two profiles; a parcel is worded by the one that made it."""

    def __init__(self, current: Wording, backfill: Wording) -> None:
        self._current = current
        self._backfill = backfill

    def parcels(self, records: Sequence[Record | GapRecord], manner: Manner) -> Iterable[Parcel]:
        """Return the parcels of the profile that this manner asks for."""
        return self._of(manner).parcels(records, manner)

    def message(self, parcel: Parcel, number: int) -> Message:
        """Return the message. Raises ValueError, TypeError or OverflowError."""
        return self._of(parcel.manner).message(parcel, number)

    def index(self, parcel: Parcel, number: int) -> int:
        """Return what tells the message apart from others of the parcel."""
        return self._of(parcel.manner).index(parcel, number)

    def _of(self, manner: Manner) -> Wording:
        waited = manner.historical and not manner.retained
        return self._backfill if waited else self._current
