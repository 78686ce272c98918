"""The collector's outbox: scans read, not yet committed by the normalizer, in a mapped ring.

Promise
    A scan whose `put` returned survives SIGKILL of the collector: the next process finds it here
    and sends it again. A scan dropped because the ring was full is counted, and the counts that
    travel with every later scan (and, of groups from which none comes, in `counts`) let the
    normalizer book exactly what is missing.
    A reboot discards the ring (its boot id differs) and begins a new epoch.

In the file, little-endian
    0        magic 8 · boot id 16 · epoch u64 · capacity u64
    64, 128  state, written in turn: generation u64 · head u64 · tail u64 · next sequence u64 ·
             dropped scans u64 · crc32 u32; the valid one of higher generation counts
    4,096    counters, 1,024 slots of 32: key 16 · scans u64 · samples u64
    36,864   ring: length u32 · crc32 u32 · sequence u64 · scans u64 · samples u64 · plan 16 ·
             payload, padded to 8; a record never wraps: a length of 2**32-1 skips to the start
    `head` and `tail` count bytes since the ring began; the place in the ring is modulo capacity.

Limits
    One process at a time (it holds its role's lock). 1,024 groups; beyond them those that this
    process does not read are forgotten, and what was lost of them and not yet told with them.
    A scan larger than a quarter of the ring, or than 8 MiB, is dropped and counted. Not made for
    power loss: msync is never called.
"""

import hashlib
import mmap
import os
import struct
import zlib
from collections import deque
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from common.clock import new_epoch
from common.errors import BlockDamaged, TailraceError
from common.log import get_log
from common.records import Plan, fingerprint_of

CAPACITY_BYTES = 16 * 1024 * 1024
"""About half an hour of 10 groups of 100 floats at 1 s (1 kB a scan) without a normalizer."""
GROUPS_MAX = 1_024
"""Groups of one collector."""
PLAN_BYTES_MAX = SCAN_BYTES_MAX = 8 * 1024 * 1024
"""What the handoff carries in one message."""

_MAGIC = b"TRoutbx1"
_HEADER = struct.Struct("<8s16sQQ")
_STATE = struct.Struct("<QQQQQ")
_CRC = struct.Struct("<I")
_STATE_AT = (64, 128)
_COUNTER = struct.Struct("<16sQQ")
_COUNTERS_AT = 4_096
_RING_AT = _COUNTERS_AT + GROUPS_MAX * _COUNTER.size
_RECORD = struct.Struct("<IIQQQ16s")
_SKIP = 0xFFFFFFFF
_EMPTY_KEY = bytes(16)

_Name = Annotated[str, msgspec.Meta(pattern="^[^/]{0,64}$")]
_Count = Annotated[int, msgspec.Meta(ge=0)]

log = get_log(__name__)


class Entry(NamedTuple):
    """One scan waiting for its acknowledgement."""

    sequence: int
    scan_count: int
    """Scans of this group since the epoch began, this one included; a jump is a loss."""
    sample_count: int
    """The same for samples."""
    plan: bytes
    start: int
    """Where the record begins, in bytes since the ring began."""
    length: int
    """Bytes of payload."""


class GroupCount(msgspec.Struct, frozen=True, array_like=True):
    """What a collector has read of one group since its epoch began, lost or not."""

    key: bytes
    """`group_key_hash` of its names."""
    device: _Name
    group: _Name
    """Both empty where this process does not read the group: then only the key is known."""
    scans: _Count
    samples: _Count


def boot_id() -> bytes:
    """Return 16 bytes that change with every boot of the machine."""
    text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    return bytes.fromhex(text.strip().replace("-", ""))


def group_key_hash(device: str, group: str) -> bytes:
    """Return the 16 bytes by which the ring knows a group."""
    return hashlib.blake2b(f"{device}/{group}".encode(), digest_size=16).digest()


class Outbox:
    """Scans in order of `sequence`, oldest first. Opened by `Outbox.open`, for one process."""

    def __init__(self, ring: mmap.mmap | bytearray, plans_dir: Path, capacity_bytes: int) -> None:
        self._ring = ring
        self._plans_dir = plans_dir
        self._capacity = capacity_bytes
        self._generation = self._head = self._tail = self.dropped_scans = 0
        self._next_sequence = 1
        self._entries: deque[Entry] = deque()
        self._counters: dict[bytes, tuple[int, int, int]] = {}
        self._slots_used = 0
        self._groups: dict[bytes, tuple[str, str]] = {}
        """Device and group that this process reads, by key."""
        self.too_large: set[str] = set()
        """Groups, as device/group, of which this process dropped a scan because of its size."""
        self.plans: dict[bytes, bytes] = {}
        """Encoded plans of everything in the outbox, by fingerprint."""
        self.epoch = 0
        self.recovered = False
        """True when an earlier process counted here: it may have died with a scan in hand."""

    @classmethod
    def open(cls, folder: Path, collector: str, capacity_bytes: int = CAPACITY_BYTES) -> "Outbox":
        """Open the ring of one collector, with what an earlier process left in it."""
        plans_dir = folder / f"{collector}.plans"
        plans_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / f"{collector}.ring", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            size = _RING_AT + capacity_bytes
            if os.fstat(descriptor).st_size != size:
                os.ftruncate(descriptor, 0)
            # Every page now: a write to a page that a full file system cannot give is SIGBUS.
            os.posix_fallocate(descriptor, 0, size)
            ring = mmap.mmap(descriptor, size)
        except OSError as error:
            raise TailraceError(
                f"the outbox needs {size} bytes in {folder}: {error.strerror}; make room there, "
                "or choose another run directory"
            ) from error
        finally:
            os.close(descriptor)
        outbox = cls(ring, plans_dir, capacity_bytes)
        outbox.take_over()
        return outbox

    def take_over(self) -> None:
        """Continue what is in the ring, or begin a new epoch where that is not possible."""
        try:
            self._recover()
            self.recovered = True
        except BlockDamaged as reason:
            if self.epoch:
                log.info("outbox begins a new epoch", reason=reason)
            self._begin()
        self._load_plans()

    def begin_anew(self) -> None:
        """Give up what is in the ring, and begin a new epoch; the loss shows in the new epoch."""
        self.recovered = False
        self._begin()

    @property
    def depth(self) -> int:
        """How many scans wait for their acknowledgement."""
        return len(self._entries)

    @property
    def sequence(self) -> int:
        """The newest scan's sequence; 0 before the first of the epoch."""
        return self._next_sequence - 1

    @property
    def oldest(self) -> int:
        """The sequence of the oldest scan still here, or the next to come when there is none."""
        return self._entries[0].sequence if self._entries else self._next_sequence

    def put(self, plan: Plan, payload: bytes, samples: int) -> None:
        """Take responsibility for one encoded scan. Drops the oldest when there is no room."""
        # Counted before stored: if the process dies in between, the loss shows as a gap of one.
        scan_count, sample_count = self._count(plan, samples)
        needed = (_RECORD.size + len(payload) + 7) & ~7
        if needed > self._capacity // 4 or len(payload) > SCAN_BYTES_MAX:
            self._drop_too_large(plan, len(payload))
            return
        place = self._head % self._capacity
        skipped = self._capacity - place if place + needed > self._capacity else 0
        while self._entries and self._head + skipped + needed - self._tail > self._capacity:
            self._pop_oldest()
            self.dropped_scans += 1
            self._commit()  # Before its bytes are overwritten, or a kill here damages the ring.
        if skipped:
            self._ring[_RING_AT + place : _RING_AT + place + _CRC.size] = _CRC.pack(_SKIP)
            self._head += skipped
            place = 0
        entry = Entry(
            self._next_sequence,
            scan_count,
            sample_count,
            plan.fingerprint,
            self._head,
            len(payload),
        )
        rest = struct.pack("<QQQ16s", *entry[:4])
        at = _RING_AT + place
        head = struct.pack("<II", len(payload), zlib.crc32(payload, zlib.crc32(rest)))
        self._ring[at : at + _RECORD.size + len(payload)] = head + rest + payload
        self._head += needed
        self._next_sequence += 1
        self._entries.append(entry)
        self._commit()

    def entry(self, sequence: int) -> Entry | None:
        """Return the entry of one sequence, None when it is not here (any more, or yet)."""
        index = sequence - self.oldest
        return self._entries[index] if 0 <= index < len(self._entries) else None

    def payload(self, entry: Entry) -> bytes:
        """Return the encoded scan of an entry that is still here."""
        at = _RING_AT + entry.start % self._capacity + _RECORD.size
        return bytes(self._ring[at : at + entry.length])

    def acknowledge(self, sequence: int) -> None:
        """Forget every scan up to and including `sequence`: the normalizer has committed them."""
        if not self._entries or self._entries[0].sequence > sequence:
            return
        while self._entries and self._entries[0].sequence <= sequence:
            self._pop_oldest()
        self._commit()

    def counts_of(self, device: str, group: str) -> tuple[int, int] | None:
        """Return (scans, samples) read of a group in this epoch, None when there were none."""
        found = self._counters.get(group_key_hash(device, group))
        return found[1:] if found else None

    def counts(self) -> list[GroupCount]:
        """Return what was read of every group in this epoch."""
        return [
            GroupCount(key, *self._groups.get(key, ("", "")), scans, samples)
            for key, (_, scans, samples) in self._counters.items()
        ]

    def remember(self, plan: Plan) -> None:
        """Keep a plan beside the ring, so that a later process can still explain its scans."""
        self._groups[group_key_hash(plan.device, plan.group)] = (plan.device, plan.group)
        if plan.fingerprint in self.plans:
            return
        if len(plan.encoded) > PLAN_BYTES_MAX:
            raise TailraceError(
                f"the tag table of {plan.device}/{plan.group} takes {len(plan.encoded)} bytes, "
                f"{PLAN_BYTES_MAX} at most: shorten descriptions or split the group"
            )
        fresh = self._plans_dir / ".new"
        fresh.write_bytes(plan.encoded)
        fresh.replace(self._plans_dir / plan.fingerprint.hex())
        self.plans[plan.fingerprint] = plan.encoded

    def close(self) -> None:
        """Unmap the ring; its file stays."""
        if isinstance(self._ring, mmap.mmap):
            self._ring.close()

    def _pop_oldest(self) -> None:
        self._entries.popleft()
        self._tail = self._entries[0].start if self._entries else self._head

    def _drop_too_large(self, plan: Plan, size: int) -> None:
        self.dropped_scans += 1
        self._commit()
        if (name := f"{plan.device}/{plan.group}") not in self.too_large:
            self.too_large.add(name)
            log.error(
                "scan too large for the outbox, dropped and counted; split the group into smaller "
                "ones (this is said once)",
                device=plan.device,
                group=plan.group,
                bytes=size,
                bytes_max=min(self._capacity // 4, SCAN_BYTES_MAX),
            )

    def _count(self, plan: Plan, samples: int) -> tuple[int, int]:
        key = group_key_hash(plan.device, plan.group)
        found = self._counters.get(key)
        if found is None:
            if self._slots_used >= GROUPS_MAX:
                self._forget_past_groups()
            found = (self._slots_used, 0, 0)
            self._slots_used += 1
        slot, scans, before = found[0], found[1] + 1, found[2] + samples
        self._counters[key] = (slot, scans, before)
        self._write_slot(slot, key, scans, before)
        return scans, before

    def _write_slot(self, slot: int, key: bytes, scans: int, samples: int) -> None:
        at = _COUNTERS_AT + slot * _COUNTER.size
        self._ring[at : at + _COUNTER.size] = _COUNTER.pack(key, scans, samples)

    def _forget_past_groups(self) -> None:
        """Free the slots of groups that no plan of this process has; the others keep counting.

        Slots move towards the front one by one, then the rest is emptied from the end: a kill
        in between leaves every group found, at worst twice with the same counts.
        """
        kept = [(key, *found) for key, found in self._counters.items() if key in self._groups]
        if len(kept) >= GROUPS_MAX:
            raise TailraceError(f"more than {GROUPS_MAX} groups in one collector")
        kept.sort(key=lambda each: each[1])
        self._counters = {}
        for slot, (key, _, scans, samples) in enumerate(kept):
            self._counters[key] = (slot, scans, samples)
            self._write_slot(slot, key, scans, samples)
        for slot in reversed(range(len(kept), self._slots_used)):
            self._write_slot(slot, _EMPTY_KEY, 0, 0)
        self._slots_used = len(kept)

    def _commit(self) -> None:
        self._generation += 1
        state = _STATE.pack(
            self._generation, self._head, self._tail, self._next_sequence, self.dropped_scans
        )
        at = _STATE_AT[self._generation % 2]
        self._ring[at : at + _STATE.size + _CRC.size] = state + _CRC.pack(zlib.crc32(state))

    def _begin(self) -> None:
        """Start an empty ring under a new epoch."""
        self._ring[:_RING_AT] = bytes(_RING_AT)
        self._entries.clear()
        self._counters.clear()
        self._generation = self._head = self._tail = self.dropped_scans = self._slots_used = 0
        self._next_sequence = 1
        self.epoch = new_epoch()
        self._commit()
        header = _HEADER.pack(_MAGIC, boot_id(), self.epoch, self._capacity)
        self._ring[: _HEADER.size] = header  # Last: until it stands, the ring is not one.

    def _recover(self) -> None:
        """Take over what is in the ring. Raises BlockDamaged when it cannot be continued."""
        magic, boot, epoch, capacity = _HEADER.unpack_from(self._ring)
        if magic != _MAGIC or capacity != self._capacity:
            raise BlockDamaged("the ring is new or of another version")
        self.epoch = epoch
        if boot != boot_id():
            raise BlockDamaged("the machine was rebooted")
        states = []
        for at in _STATE_AT:
            state = self._ring[at : at + _STATE.size]
            if _CRC.unpack_from(self._ring, at + _STATE.size)[0] == zlib.crc32(state):
                states.append(_STATE.unpack(state))
        if not states:
            raise BlockDamaged("neither state is valid")
        self._generation, self._head, self._tail, self._next_sequence, self.dropped_scans = max(
            states
        )
        for slot in range(GROUPS_MAX):
            key, scans, samples = _COUNTER.unpack_from(
                self._ring, _COUNTERS_AT + slot * _COUNTER.size
            )
            if key == _EMPTY_KEY:
                break
            self._counters[key] = (slot, scans, samples)
            self._slots_used = slot + 1
        self._walk()

    def _walk(self) -> None:
        at = self._tail
        while at < self._head:
            place = at % self._capacity
            record_at = _RING_AT + place
            if self._capacity - place < _RECORD.size or (
                _CRC.unpack_from(self._ring, record_at)[0] == _SKIP
            ):
                at += self._capacity - place
                continue
            length, crc, sequence, scans, samples, plan = _RECORD.unpack_from(self._ring, record_at)
            end = record_at + _RECORD.size + length
            if zlib.crc32(self._ring[record_at + 8 : end]) != crc:
                raise BlockDamaged(f"the record at {at} fails its checksum")
            if self._entries and sequence != self._entries[-1].sequence + 1:
                raise BlockDamaged(f"scan {sequence} does not follow the one before it")
            self._entries.append(Entry(sequence, scans, samples, plan, at, length))
            at += (_RECORD.size + length + 7) & ~7
        if self._entries and self._entries[-1].sequence != self._next_sequence - 1:
            raise BlockDamaged("the newest record is not the one the state names")

    def _load_plans(self) -> None:
        """Load the plans that waiting scans need; remove the others."""
        needed = {entry.plan for entry in self._entries}
        for path in self._plans_dir.iterdir():
            encoded = path.read_bytes()
            fingerprint = fingerprint_of(encoded)
            if fingerprint in needed and path.name == fingerprint.hex():
                self.plans[fingerprint] = encoded
            else:
                path.unlink()
