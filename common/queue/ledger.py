"""The loss ledger: what became of every sample that was collected, per group, to the sample.

    collected = unchanged + delivered + queued + lost

Two more equalities hold by themselves, because losses before and inside the queue have different
causes:

    collected = unchanged + entered + lost before the queue
    entered   = delivered + queued + lost inside the queue

The queue keeps one `Account` per group, changed in the same transaction as the blocks it speaks
of; `tailrace queue verify` counts the blocks and compares.
"""

from collections.abc import Iterable

import msgspec

OUTBOX_FULL = "outbox-full"
"""The normalizer was away for longer than the collector's outbox lasts, or a scan was too large."""
OUTBOX_LOST = "outbox-lost"
"""A reboot or a damaged outbox; how many is not known."""
SCAN_DAMAGED = "scan-damaged"
"""A scan arrived that does not fit its plan."""
QUEUE_NEW = "queue-new"
"""The queue was begun anew; what the one before it held is not known here."""
QUEUE_FULL = "queue-full"
QUEUE_AGE = "queue-age"
"""Older than the configured age."""
THINNED = "thinned"
"""Left out of the oldest data: first, last, least and greatest of each bucket stayed."""
BLOCK_DAMAGED = "block-damaged"
"""The disk returned other bytes than were written."""
OPERATOR = "dropped-by-operator"
"""`tailrace queue drop`."""
TARGET_CUT_OFF = "target-cut-off"
"""A target's backlog had passed its limit (cutting.py). Told to that target alone; in the ledger
only what no target has had: the others' samples are delivered."""

LOST_BEFORE = (OUTBOX_FULL, OUTBOX_LOST, SCAN_DAMAGED, QUEUE_NEW)
LOST_INSIDE = (QUEUE_FULL, QUEUE_AGE, THINNED, BLOCK_DAMAGED, OPERATOR, TARGET_CUT_OFF)


class Loss(msgspec.Struct, frozen=True, array_like=True):
    """What one cause has cost; scans of which only parts are missing are not counted as scans."""

    scans: int = 0
    samples: int = 0
    unknown: int = 0
    """Losses of this cause whose size nobody knows."""

    def __add__(self, other: "Loss") -> "Loss":
        """Return both together."""
        return Loss(
            self.scans + other.scans, self.samples + other.samples, self.unknown + other.unknown
        )


class Account(msgspec.Struct, frozen=True, array_like=True):
    """What became of one group's samples, or of many groups' together. Fields are only appended."""

    collected: int = 0
    """Samples read from the device, lost or not."""
    unchanged: int = 0
    """Within the deadband of what was told last: nothing to report."""
    entered: int = 0
    """Committed to the queue."""
    delivered: int = 0
    """Removed from the queue once every target had them (taken, or set aside as refused)."""
    queued: int = 0
    """In the queue's blocks."""
    lost: dict[str, Loss] = {}
    """By cause."""

    @property
    def lost_samples(self) -> int:
        """Samples known to be lost, whatever the cause."""
        return sum(loss.samples for loss in self.lost.values())

    @property
    def unexplained(self) -> int:
        """Samples that no column explains; 0 unless the ledger or the queue is damaged."""
        return self.collected - self.unchanged - self.delivered - self.queued - self.lost_samples

    def __add__(self, other: "Account") -> "Account":
        """Return both together; a change is added the same way."""
        lost = dict(self.lost)
        for cause, loss in other.lost.items():
            lost[cause] = lost.get(cause, Loss()) + loss
        return Account(
            self.collected + other.collected,
            self.unchanged + other.unchanged,
            self.entered + other.entered,
            self.delivered + other.delivered,
            self.queued + other.queued,
            lost,
        )


class Ledger(msgspec.Struct, frozen=True):
    """Every group's account, as of one instant."""

    groups: dict[str, Account]
    """By device/group; a loss that cannot be assigned stands under `/`."""

    @property
    def total(self) -> Account:
        """All together."""
        return together(self.groups.values())

    @property
    def devices(self) -> dict[str, Account]:
        """By device."""
        found: dict[str, Account] = {}
        for key, account in self.groups.items():
            device = key.partition("/")[0]
            found[device] = found.get(device, Account()) + account
        return found


def together(accounts: Iterable[Account]) -> Account:
    """Return the sum of accounts."""
    return sum(accounts, Account())


def group_key(device: str, group: str) -> str:
    """Return the key of a group's account; names have no slash."""
    return f"{device}/{group}"
