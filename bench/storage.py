"""Question: how many bytes a sample takes on disk, as committed and once compacted.

Plants of three sizes and five kinds are read at honest times: on the collector's grid, plus what a
device takes to answer, in nanoseconds. Their scans go through the real normalizer, one to a commit,
as a quiet gateway commits them; then neighbouring blocks are joined. Every kind is a mix of tags,
as the groups of a plant are.

slow      transmitters with a resolution of 0.1 or 0.01 and a deadband: as REAL, as REAL multiplied
          in the PLC, as integer tenths that the tag table scales
opcua     the same, with the times at which a server swept over them, in its 100 ns
computed  the same process, as REAL that a PLC computed from an input card's 0..27648
counters  pieces, pulses and energy at a machine's rate; two in ten tags are states or booleans
noisy     every value new with every scan, to the last bit of a float32
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from common.block import Batch, decode_block, encode_batch, encode_block, join, open_batch
from common.clock import monotonic_s
from common.records import Column, Plan, Scan, ValueType
from normalizer.columns import GroupNormalizer

PROFILES = ((10, 1_000), (100, 250), (1_000, 1_000))
"""(tags, period in ms)"""
SAMPLES, SCANS_MAX = 100_000, 60_000
"""Of each plant, reported samples and scans at the most."""
BLOCK_SAMPLES = (4_096, 8_192, 16_384, 32_768)
"""Compaction joins blocks up to such a size; speeds are those of DECODED_SAMPLES."""
DECODED_SAMPLES = 16_384
START_NS = 1_750_000_000_123_456_789
PAGE_BYTES, PAGE_HEADER_BYTES, ENTRY_BYTES, LEAF_BYTES_MAX = 4_096, 16, 18, 2_000
"""LMDB: an entry's key and header; larger values stand on pages of their own, in a row."""

Rows = npt.NDArray[Any]
Random = np.random.Generator


class Tag(NamedTuple):
    """One column, and how its raw values go."""

    source_type: str
    value_type: ValueType
    raw: Callable[[Random, float, int], Rows]
    """(random, period in s, scans) → raw values."""
    scale: float = 1.0
    deadband: float = 0.0


def process(random: Random, period_s: float, scans: int) -> Rows:
    """Return a process value that wanders by a few units and comes back within minutes."""
    pull = period_s / random.uniform(120, 1_800)
    kicks = random.normal(0, random.uniform(0.5, 3) * np.sqrt(2 * pull), scans)
    value, found = 0.0, np.empty(scans)
    for i, kick in enumerate(kicks.tolist()):
        value += kick - pull * value
        found[i] = value
    return random.uniform(20, 90) + found


def steps(resolution: float) -> Callable[[Random, float, int], Rows]:
    """Return a transmitter's output in steps of its resolution, half a step of it noise."""

    def raw(random: Random, period_s: float, scans: int) -> Rows:
        seen = process(random, period_s, scans) + random.normal(0, resolution / 2, scans)
        return np.rint(seen / resolution).astype(np.int64)

    return raw


def divided(resolution: float) -> Callable[[Random, float, int], Rows]:
    """Return a REAL as an instrument sends it: the float32 that is nearest to a decimal."""
    return lambda *of: (steps(resolution)(*of) / round(1 / resolution)).astype("f4").astype(float)


def multiplied(random: Random, period_s: float, scans: int) -> Rows:
    """Return a REAL that a PLC made of tenths, by a multiplication in float32."""
    tenths = steps(0.1)(random, period_s, scans).astype("f4")
    return (tenths * np.float32(0.1)).astype(float)


def computed(random: Random, period_s: float, scans: int) -> Rows:
    """Return a REAL that a PLC made of an input card's 0..27648, in float32."""
    card = np.rint(process(random, period_s, scans) / 150 * 27_648 + random.normal(0, 3, scans))
    return (card.astype("f4") / np.float32(27_648) * np.float32(150)).astype(float)


def noise(random: Random, _period_s: float, scans: int) -> Rows:
    """Return a REAL of which all bits are new."""
    return (random.uniform(1, 500) * random.normal(1, 0.01, scans)).astype("f4").astype(float)


def pieces(random: Random, period_s: float, scans: int) -> Rows:
    """Return a count of pieces or pulses, at a rate that a machine holds as well as it can."""
    per_scan = random.choice([0.3, 2.0, 40.0]) * period_s
    return random.integers(0, 10**6) + random.poisson(per_scan, scans).cumsum()


def energy(random: Random, period_s: float, scans: int) -> Rows:
    """Return an energy meter's count of Wh, at a load that wanders."""
    load_w = 1_000 * process(random, period_s, scans)
    return random.integers(10**9, 10**11) + (load_w * period_s / 3_600).cumsum().astype(np.int64)


def state(random: Random, period_s: float, scans: int) -> Rows:
    """Return a state word: one of a few numbers, for a minute or so."""
    changes = random.random(scans) < period_s / 60
    return random.choice([0, 1, 2, 4, 16, 260], scans)[np.maximum.accumulate(
        np.where(changes, np.arange(scans), 0)
    )]  # fmt: skip


def switch(random: Random, period_s: float, scans: int) -> Rows:
    """Return a boolean that is switched every half minute or so."""
    return ((random.random(scans) < period_s / 30).cumsum() % 2).astype(bool)


TRANSMITTERS = [
    Tag("REAL", ValueType.FLOAT64, divided(0.1), deadband=0.2),
    Tag("REAL", ValueType.FLOAT64, divided(0.01), deadband=0.05),
    Tag("INT", ValueType.FLOAT64, steps(0.1), scale=0.1, deadband=0.2),
    Tag("REAL", ValueType.FLOAT64, multiplied, deadband=0.2),
]
KINDS: dict[str, list[Tag]] = {
    "slow": TRANSMITTERS,
    "opcua": TRANSMITTERS,
    "computed": [Tag("REAL", ValueType.FLOAT64, computed, deadband=0.2)],
    "counters": [
        *[Tag("UDINT", ValueType.UINT64, pieces)] * 5,
        *[Tag("ULINT", ValueType.UINT64, energy)] * 3,
        Tag("UINT", ValueType.UINT64, state),
        Tag("BOOL", ValueType.BOOL, switch),
    ],
    "noisy": [Tag("REAL", ValueType.FLOAT64, noise)],
}


def plan_of(kind: str, width: int, period_ms: int) -> tuple[Plan, list[Tag]]:
    """Return a group of a kind, and its tags."""
    tags = [KINDS[kind][i % len(KINDS[kind])] for i in range(width)]
    columns = tuple(
        Column(
            f"t{i}", f"Acme/t{i}", f"a{i}", tag.source_type, tag.value_type,
            scale=tag.scale, deadband=tag.deadband,
        )
        for i, tag in enumerate(tags)
    )  # fmt: skip
    return Plan("s7", "press", "fast", "Press", period_ms, columns), tags


def committed(kind: str, width: int, period_ms: int) -> tuple[Plan, list[bytes]]:
    """Return a plan and the blocks that a normalizer commits, one for each scan that reports."""
    plan, tags = plan_of(kind, width, period_ms)
    random = np.random.default_rng(1)
    scans = min(SCANS_MAX, 40 * SAMPLES // width)
    raw = [tag.raw(random, period_ms / 1_000, scans).tolist() for tag in tags]
    answer_ns = random.lognormal(np.log(4e6), 0.3, scans) + random.exponential(60e3, scans)
    read_at_ns = START_NS + np.arange(scans) * period_ms * 10**6 + answer_ns.astype(np.int64)
    group = GroupNormalizer(plan)
    blocks: list[bytes] = []
    samples = 0
    for at_ns, row in zip(read_at_ns.tolist(), zip(*raw, strict=True), strict=True):
        scan = Scan(plan.fingerprint, at_ns, 0, list(row))
        if kind == "opcua":
            scan = msgspec.structs.replace(scan, source_at_ns=swept(random, at_ns, width))
        part = group.normalise(scan)
        if part is not None:
            blocks.append(encode_block([part], len(blocks) + 1, lambda _: 1))
            samples += part.samples
        if samples >= SAMPLES:
            break
    return plan, blocks


def swept(random: Random, at_ns: int, width: int) -> list[int]:
    """Return when a server took its values, one after the other, before it reported them."""
    began_ns = at_ns - int(random.lognormal(np.log(20e6), 0.5))
    taken_ns = began_ns + (3_000 + random.exponential(2_000, width)).cumsum().astype(np.int64)
    return (taken_ns // 100 * 100).tolist()


def compacted(blocks: list[bytes], plan: Plan, samples_max: int) -> Iterator[bytes]:
    """Join neighbouring blocks as long as they stay within a size."""
    batches: list[Batch] = []
    samples = 0
    for block in blocks:
        batch = open_batch(block, lambda _: plan)
        more = sum(section.samples for section in batch.sections)
        if batches and samples + more > samples_max:
            yield encode_batch(join(batches), 0)
            batches, samples = [], 0
        batches.append(batch)
        samples += more
    yield encode_batch(join(batches), 0)


def pages_bytes(blocks: list[bytes]) -> int:
    """Return what blocks take in LMDB, appended one after the other."""
    small = sum(len(block) + ENTRY_BYTES for block in blocks if len(block) <= LEAF_BYTES_MAX)
    pages = sum(
        -(-(len(block) + PAGE_HEADER_BYTES) // PAGE_BYTES)
        for block in blocks
        if len(block) > LEAF_BYTES_MAX
    )
    return small + pages * PAGE_BYTES


def decoded(blocks: list[bytes], plan: Plan) -> list[Any]:
    """Return all records."""
    return [record for block in blocks for record in decode_block(block, lambda _: plan)]


def decoding_s(blocks: list[bytes], plan: Plan) -> float:
    """Return how long decoding takes, of blocks that are let go one after the other."""
    from_s = monotonic_s()
    for block in blocks:
        decode_block(block, lambda _: plan)
    return monotonic_s() - from_s


def measure(kind: str, width: int, period_ms: int) -> None:
    """Print one row."""
    plan, blocks = committed(kind, width, period_ms)
    before = decoded(blocks, plan)
    records, samples = len(before), sum(len(record.values) for record in before)
    row = f"  {kind:9}{width:6} x {period_ms:4} ms{samples / records:7.1f}"
    row += f"{sum(map(len, blocks)) / samples:9.2f}{pages_bytes(blocks) / samples:8.2f} →"
    for samples_max in BLOCK_SAMPLES:
        from_s = monotonic_s()
        compact = list(compacted(blocks, plan, samples_max))
        spent_s = monotonic_s() - from_s
        row += f"{sum(map(len, compact)) / samples:8.3f}{pages_bytes(compact) / samples:6.2f}"
        if samples_max == DECODED_SAMPLES:
            assert decoded(compact, plan) == before, "not the same"  # noqa: S101 - or no figure
            del before
            decode_s = decoding_s(compact, plan)
            speeds = f"{samples / spent_s / 1e6:7.2f}{samples / decode_s / 1e6:7.2f}"
            speeds += f"{records / decode_s / 1e6:7.2f}"
    print(row + speeds)


def main() -> None:
    """Print all rows."""
    print(
        "bytes a reported sample takes, beside it with LMDB's pages; in blocks of so many samples"
    )
    print(
        "  kind        tags, period  /record  committed"
        + "".join(f"{size:14,}" for size in BLOCK_SAMPLES)
        + "  M samples/s joined, decoded, M records/s"
    )
    for kind in KINDS:
        for width, period_ms in PROFILES:
            measure(kind, width, period_ms)


if __name__ == "__main__":
    main()
