"""The store-and-forward queue: an ordered, durable log of records in one LMDB environment.

Who is responsible
    The normalizer alone writes (`QueueWriter`). From the moment `append` returns, its records
    survive SIGKILL of any process, and power loss as far as the disk honours fsync, until every
    target's cursor has passed them or the queue is full. Each uplink reads (`QueueReader`) and
    writes only its own `Cursor`, an environment of its own, so no two processes ever wait for one
    write lock.

On disk, in <data>/queue/
    data.mdb, lock.mdb   databases:
        blocks   u64 big-endian first sequence → block (common/block.py, docs/formats/block.md)
        plans    u32 big-endian plan id → encoded plan; never removed while blocks may name it
        sources  collector → Position, the last scan committed from it
        groups   device/group → Tally, what was collected since the collector's epoch began
        meta     format · epoch · next (sequence)
    cursors/<target>/    databases: position, set_aside

    Sequences start at 1 and are never used twice within an epoch; the epoch is new with each new
    environment. LMDB's own defaults make a commit durable: never sync=False, metasync=False or
    writemap (measured: each of the first two loses acknowledged commits on power loss).

Limits
    `capacity_bytes` of blocks; the map is larger, because a full map refuses deletes too. When
    full, the oldest blocks are dropped and each loss is itself a record: a gap.
"""

from common.queue.cursor import Cursor, CursorWatch, DeadLetter
from common.queue.reader import QueueReader, QueueSummary, Tally
from common.queue.writer import QueueWriter

__all__ = [
    "Cursor",
    "CursorWatch",
    "DeadLetter",
    "QueueReader",
    "QueueSummary",
    "QueueWriter",
    "Tally",
]
