"""What the `id` of a message says: gateway, epoch, sequence, index. Standard library only.

    sitea-line1:1795383200125:4711:3       the sample in column 3 of record 4711
    sitea-line1:1795383200125:4711         the whole record, where a message carries all of it
    sitea-line1:1795383200125:4711:gap     a gap that stands at 4711; gap1, gap2, … are further ones

The same message, repeated, has the same id; two different messages never share one. Within an epoch
sequences grow in the order of committing and are never used twice; a gateway begins a new epoch
with a new queue.
"""

import re
from typing import NamedTuple

EPOCH_MAX = SEQUENCE_MAX = 2**64 - 1
COLUMN_MAX = 65_535
GAPS_MAX = 2**31 - 1
TEXT_MAX = 160
"""Characters of the longest id: a gateway's name has 64 at most."""

_FORM = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9_-]{0,63}):(0|[1-9][0-9]{0,19}):([1-9][0-9]{0,19})"
    r"(?::(?:(0|[1-9][0-9]{0,4})|gap([1-9][0-9]{0,9}|)))?"
)


class Identity(NamedTuple):
    """Which message it is. Neither column nor gap: a whole record."""

    gateway: str
    epoch: int
    sequence: int
    column: int | None = None
    """The index: which column of the record's tag table."""
    gap: int | None = None
    """Number of the gap among those of one sequence, from 0."""

    def __str__(self) -> str:
        """The text that it was parsed from."""
        stem = f"{self.gateway}:{self.epoch}:{self.sequence}"
        if self.gap is not None:
            return f"{stem}:gap{self.gap or ''}"
        return stem if self.column is None else f"{stem}:{self.column}"


def parse_identity(text: str) -> Identity:
    """Return what an id says. Raises ValueError for everything that no gateway would write."""
    found = _FORM.fullmatch(text) if len(text) <= TEXT_MAX else None
    if found is None:
        raise ValueError(f"no id of a message: {text[:TEXT_MAX]!r}; gateway:epoch:sequence:index")
    gateway, epoch, sequence, column, gap = found.groups()
    identity = Identity(
        gateway,
        int(epoch),
        int(sequence),
        None if column is None else int(column),
        None if gap is None else int(gap or 0),
    )
    if (
        identity.epoch > EPOCH_MAX
        or identity.sequence > SEQUENCE_MAX
        or (identity.column or 0) > COLUMN_MAX
        or (identity.gap or 0) > GAPS_MAX
    ):
        raise ValueError(f"no id of a message: {text!r}; a number in it is too large")
    return identity
