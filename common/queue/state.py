"""What the queue knows of itself beside its blocks, kept in one small value."""

import enum

import msgspec

TIERS = 3
"""Compaction merges 64 blocks at a time; three times over, a scan a second fills a large block."""


class Stage(enum.IntEnum):
    """What a block has already given up to make room; only ever grows."""

    WHOLE = 0
    SPARED = 1
    """Without the tags that are first to go."""
    FINE = 2
    """Thinned to buckets of `thin_fine_s`."""
    COARSE = 3
    """Thinned to buckets of `thin_coarse_s`."""
    KEPT = 4
    """Only the tags that are to be kept."""
    GONE = 5
    """Nothing but the gaps that say what was here."""


class QueueState(msgspec.Struct, array_like=True):
    """Changed in the transaction that makes it true. Fields are only appended."""

    next_sequence: int = 1
    stage_bytes: list[int] = msgspec.field(default_factory=lambda: [0] * len(Stage))
    """Bytes of the blocks of each stage."""
    reduced_to: list[int] = msgspec.field(default_factory=lambda: [0] * len(Stage))
    """Per stage: every block up to this sequence has been through it, or was claimed."""
    compacted_to: list[int] = msgspec.field(default_factory=lambda: [0] * TIERS)
    """Per tier: every block up to this sequence has been merged, or need not be."""
    clock_s: float = 0.0
    """The queue's own clock (aging.py), as of the last commit."""
    wall_ns: int = 0
    """The system's clock at the same moment."""
    boot: bytes = b""
    """The boot of the machine it was (boot id), and its monotonic clock at the same moment."""
    monotonic_s: float = 0.0

    def copy(self) -> "QueueState":
        """Return an independent copy, to be changed in a transaction that may fail."""
        return QueueState(
            self.next_sequence,
            list(self.stage_bytes),
            list(self.reduced_to),
            list(self.compacted_to),
            self.clock_s,
            self.wall_ns,
            self.boot,
            self.monotonic_s,
        )
