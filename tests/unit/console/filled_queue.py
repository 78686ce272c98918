"""A queue that holds a bit of everything, and a plain list of what it must show."""

from dataclasses import dataclass
from pathlib import Path

import lmdb

from common.queue import Bounds, QueueWriter
from common.records import Column, Gap, Plan, Quality, ValueType
from tests.unit.common.block_builders import part_of

START_NS = 1_700_000_000_123_456_789
STEP_NS = 1_000_000_000
SITE = "Acme/SiteA"


def column(asset: str, name: str, value_type: ValueType, unit: str = "") -> Column:
    return Column(name, f"{SITE}/{asset}/{name}", "address", "T", value_type, unit)


PRESS = Plan(
    "simulated",
    "press",
    "fast",
    "Press",
    1_000,
    (
        column("Press", "Temperature_C", ValueType.FLOAT64, "Cel"),
        column("Press", "Strokes", ValueType.UINT64, "1"),
        column("Press", "Recipe", ValueType.STRING),
        column("Press", "Frame", ValueType.BYTES),
        column("Press", "Running", ValueType.BOOL),
    ),
)
METER = Plan(
    "modbus",
    "meter",
    "power",
    "Meter",
    1_000,
    (column("Meter", "Power_kW", ValueType.FLOAT64, "kW"),),
)


@dataclass(frozen=True)
class Told:
    """One row that must be shown: of a sample, or of a gap (index None)."""

    sequence: int
    read_at_ns: int
    index: int | None
    topic: str = ""
    value: object = None
    unit: str = ""
    quality: str = "Good"
    source_at_ns: int | None = None
    gap: Gap | None = None


def create(folder: Path) -> QueueWriter:
    return QueueWriter.create(folder / "queue", Bounds(capacity_bytes=64 * 1024**2))


def fill(queue: QueueWriter, commits: int) -> list[Told]:
    """Commit so many blocks of four records each; return what they hold, row by row."""
    told: list[Told] = []
    for _ in range(commits):
        first = queue.last_sequence() + 1
        at_ns = START_NS + first * STEP_NS
        times = [at_ns, at_ns + 1, at_ns + 2, at_ns + 3]
        values = [20 + first / 7, 2**64 - first, f'A-{first}; \u00e4 = "1",\n2', b"\x00\xff", True]
        gap = Gap("press", "fast", "outbox-full", times[2] - 5, times[2], 3, 15)
        bad = [Quality.GOOD, Quality.BAD_TIMEOUT]
        source_at = [times[3] - 7, None]
        queue.append(
            [
                part_of(PRESS, times[0], values),
                part_of(METER, times[1], [first * 0.1]),
                gap,
                part_of(PRESS, times[3], [float(first), None], [0, 2], bad, source_at),
            ],
            plans=[PRESS, METER],
        )
        names = [(each.topic, each.unit) for each in PRESS.columns]
        told += [
            Told(first, times[0], i, names[i][0], value, names[i][1])
            for i, value in enumerate(values)
        ]
        told += [
            Told(first + 1, times[1], 0, METER.columns[0].topic, first * 0.1, "kW"),
            Told(first + 2, times[2], None, gap=gap),
            Told(first + 3, times[3], 0, names[0][0], float(first), "Cel", "Good", source_at[0]),
            Told(first + 3, times[3], 2, names[2][0], None, "", "BadTimeout", None),
        ]
    return told


def fill_lone_gap(queue: QueueWriter) -> list[Told]:
    """Commit a block in which a gap stands without any data of its group."""
    first = queue.last_sequence() + 1
    at_ns = START_NS + first * STEP_NS
    gap = Gap("press", "fast", "outbox-full", at_ns, at_ns + 9, 3, 15)
    queue.append([part_of(METER, at_ns, [7.0]), gap])
    return [
        Told(first, at_ns, 0, METER.columns[0].topic, 7.0, "kW"),
        Told(first + 1, at_ns + 9, None, gap=gap),
    ]


IN_HEADER, IN_BODY = 30, -1


def damage(folder: Path, entry: int, place: int) -> None:
    """Flip one bit of a stored block, as a disk does."""
    environment = lmdb.open(str(folder / "queue"), max_dbs=8, map_size=256 * 1024**2)
    blocks = environment.open_db(b"blocks", create=False)
    with environment.begin(write=True, db=blocks) as transaction:
        key, value = list(transaction.cursor())[entry]
        damaged = bytearray(value)
        damaged[place] ^= 1
        transaction.put(key, bytes(damaged))
    environment.close()
