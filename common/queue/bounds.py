"""How much the queue may hold, and what it does when there is more."""

import enum

import msgspec

MIB = 1024**2


class WhenFull(enum.StrEnum):
    """What happens when the queue has reached one of its bounds."""

    DROP_OLDEST = "drop-oldest"
    """The oldest goes, by class: first-to-go before normal before keep."""
    STOP_READING = "stop-reading"
    """Nothing more is taken from the collectors; their outboxes drop their oldest, counted."""
    THIN = "thin"
    """The oldest loses detail first: first, last, least and greatest of each bucket stay."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """The queue's limits, as code passes them. plant.toml's [queue] is where they come from."""

    capacity_bytes: int = 8 * 1024 * MIB
    """What blocks may occupy on disk; docs/performance.md has bytes per sample."""
    disk_reserve_bytes: int = 256 * MIB
    """Left free on the file system (at most 5 % of it); the capacity shrinks instead."""
    age_max_s: float | None = None
    """Older data is dropped, measured by a clock that steps of the system clock do not move."""
    when_full: WhenFull = WhenFull.DROP_OLDEST
    thin_fine_s: float = 60.0
    """`thin`: the bucket of the older half."""
    thin_coarse_s: float = 900.0
    """`thin`: the bucket of what is older still."""


class BacklogLimit(msgspec.Struct, frozen=True, kw_only=True):
    """How much may wait for one target before it is cut off. it/cloud.toml is where it comes from.

    None: however much.
    """

    age_max_s: float | None = None
    """By the queue's own clock."""
    bytes_max: int | None = None
    """Of blocks that it has not had."""
