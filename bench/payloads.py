"""Question: what it costs to word a sample in each profile, and how many bytes it becomes.

Records as they come from the queue, 64 at a time, of groups of three sizes; numbers with three
decimals. Worded alone: what reading the queue and sending the message cost is end_to_end's.
CPU seconds of this process, the median of ROUNDS.
"""

import random
from statistics import median
from time import process_time

from common.records import Column, Plan, Record, ValueType
from uplink.contract import Manner
from uplink.intake import RECORDS_MAX
from uplink.registry import wording_of
from uplink.settings import PayloadConfig
from uplink.surroundings import Identity

PROFILES = {
    "uns": PayloadConfig(),
    "uns, CloudEvents": PayloadConfig(cloud_events="binary"),
    "umh": PayloadConfig(payload="umh"),
    "asset": PayloadConfig(payload="asset"),
    "batch": PayloadConfig(payload="batch"),
}
TAGS = (10, 100, 1_000)
SAMPLES = 200_000
ROUNDS = 5
ROOT = "Acme/SiteA/Stamping/Line1"
IDENTITY = Identity("sitea-line1", 17, ROOT, "Acme/SiteA/_edge/sitea-line1")
MANNER = Manner(historical=False, retained=True, payload_bytes_max=100 * 1024)
START_NS = 1_733_904_005_123_456_789


def records_of(tags: int) -> list[Record]:
    """Return SAMPLES samples in scans of a whole group."""
    chosen = random.Random(tags)  # noqa: S311 - the same numbers each time
    columns = tuple(
        Column(f"Tag_{i}", f"{ROOT}/Press_Machine/Tag_{i}", "DB1", "REAL", ValueType.FLOAT64)
        for i in range(tags)
    )
    plan = Plan("s7", "press", "process", "Press_Machine", 250, columns)
    return [
        Record(
            4_711_000 + scan,
            plan,
            START_NS + scan * 250_000_000,
            [round(chosen.uniform(0, 150), 3) for _ in range(tags)],
        )
        for scan in range(SAMPLES // tags)
    ]


def worded(config: PayloadConfig, records: list[Record]) -> tuple[float, int, int]:
    """Return (CPU seconds, messages, bytes of payload) of all records."""
    wording = wording_of(config, IDENTITY)
    messages = size = 0
    began_s = process_time()
    for first in range(0, len(records), RECORDS_MAX):
        for parcel in wording.parcels(records[first : first + RECORDS_MAX], MANNER):
            for number in range(parcel.messages):
                size += len(wording.message(parcel, number).payload)
                messages += 1
    return process_time() - began_s, messages, size


def main() -> None:
    """Print a line for each profile and size of group."""
    print(f"{'profile':18}{'tags':>6}{'samples/s':>12}{'us/sample':>11}{'bytes/sample':>14}"
          f"{'bytes/message':>15}")  # fmt: skip
    for tags in TAGS:
        records = records_of(tags)
        for name, config in PROFILES.items():
            rounds = [worded(config, records) for _ in range(ROUNDS)]
            cpu_s = median(each[0] for each in rounds)
            _, messages, size = rounds[0]
            print(f"{name:18}{tags:>6}{SAMPLES / cpu_s:>12,.0f}{cpu_s / SAMPLES * 1e6:>11.2f}"
                  f"{size / SAMPLES:>14.0f}{size / messages:>15,.0f}")  # fmt: skip
