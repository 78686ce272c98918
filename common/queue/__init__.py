"""The store-and-forward queue: an ordered, durable log of records in one LMDB environment.

Who is responsible
    The normalizer alone writes (`QueueWriter`). From the moment `append` returns, its records
    survive SIGKILL of any process, and power loss as far as the disk honours fsync, until every
    target's cursor has passed them or a bound is reached. Each uplink reads (`QueueReader`) and
    writes only its own `Cursor`, an environment of its own, so no two processes ever wait for one
    write lock.

On disk, in <data>/queue/
    data.mdb, lock.mdb   databases:
        blocks   u64 big-endian first sequence → block (common/block, docs/formats/block.md)
        plans    u32 big-endian plan id → encoded plan; never removed while blocks may name it
        sources  collector → Position, the last scan committed from it
        groups   collector/device/group → Tally, collected since the collector's epoch began
        ledger   device/group → Account, what became of every sample (ledger.py)
        ages     u64 big-endian sequence → the queue's own clock when it was the newest (aging.py)
        meta     format · epoch · file (its inode) · state (state.py) ·
                 cut:<target>, what it was cut off from (cutoff.py)
    cursors/<target>/    databases: position, set_aside, retry, notes
    quarantine/          damaged blocks, as they were found
    in-use, ballast      creation.py, disk.py

    Sequences start at 1 and are never used twice within an epoch; the epoch is new with each new
    environment, and when it was restored from a copy. LMDB's own defaults make a commit durable:
    never sync=False, metasync=False or writemap (measured: each of the first two loses
    acknowledged commits on power loss).

Limits
    `Bounds`: bytes of blocks, age, and what the disk can spare; the map is larger, because a full
    map refuses deletes too. What happens at a bound is `Bounds.when_full` (room.py); every loss
    is itself a record, a gap, that stands where the data stood. While a backlog grows, small old
    blocks are merged (compaction.py). What every target has is removed wherever it stands
    (trimming.py, standing.py). A target with a limit of its own is cut off beyond it (cutting.py).
"""

from common.queue.bounds import BacklogLimit, Bounds, WhenFull
from common.queue.cursor import Cursor, CursorWatch, Island, Settled
from common.queue.cutoff import CutOff
from common.queue.deadletters import DeadLetter
from common.queue.ledger import Account, Ledger
from common.queue.losses import Changes, loss_of
from common.queue.reader import QueueReader, QueueSummary, Tally
from common.queue.writer import QueueWriter

__all__ = [
    "Account",
    "BacklogLimit",
    "Bounds",
    "Changes",
    "Cursor",
    "CursorWatch",
    "CutOff",
    "DeadLetter",
    "Island",
    "Ledger",
    "QueueReader",
    "QueueSummary",
    "QueueWriter",
    "Settled",
    "Tally",
    "WhenFull",
    "loss_of",
]
