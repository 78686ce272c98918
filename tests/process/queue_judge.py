"""Is what a queue holds what was fed to it? Complaints in words, none when it is.

Knows the scans of normalizer_rig.py: scan n has sequence n + 1, because every scan is news, and
what is lost stands as a gap in its place.
"""

from collections.abc import Sequence

from common.queue import QueueReader
from common.queue.verifying import verify
from common.records import GapRecord, Plan, Record
from tests.process.normalizer_rig import NormalizerRig, scan_read_at, value_of

Records = Sequence[Record | GapRecord]
COMPLAINTS_MAX = 5


def complaints_of(rig: NormalizerRig) -> list[str]:
    """Return what is wrong with a rig's queue: every scan is to be here, or counted as lost."""
    with rig.reader() as reader:
        records = reader.read(after=0, records_max=10**9)
        first, last = reader.summary().first_sequence, reader.last_sequence()
        wrong = [] if last == rig.scans else [f"{rig.scans} scans were fed, {last} are here"]
        wrong += complaints_of_records(records, first, last, rig.plan)
        wrong += complaints_of_books(reader, records, last, rig.plan)
        if not (verified := verify(reader)).sound:
            wrong.append(f"verify finds {verified.damaged} {verified.differences}")
    return wrong


def complaints_of_records(records: Records, first: int, last: int, plan: Plan) -> list[str]:
    """Return what is wrong with the records of sequences `first` to `last`."""
    wrong = []
    before = found = 0
    for each in records:
        if isinstance(each, GapRecord):
            found += each.gap.samples
            if each.gap.last_at_ns < each.gap.first_at_ns:
                wrong.append(f"a gap ends before it begins: {each}")
            continue
        found += len(each.values)
        number = scan_read_at(each.read_at_ns)
        if number != each.sequence - 1 or each.sequence <= before:
            wrong.append(f"sequence {each.sequence} is scan {number}, after sequence {before}")
        before = each.sequence
        indexes = each.indexes if each.indexes is not None else range(len(plan.columns))
        told = [value_of(plan.columns[i].name, number) for i in indexes]
        if told != each.values or each.plan != plan or each.qualities or each.source_at_ns:
            wrong.append(f"scan {number} holds something else")
    owed = (last - first + 1) * len(plan.columns)
    if found != owed:
        wrong.append(f"{first} to {last}: {found} samples here or in gaps, not {owed}")
    return wrong[:COMPLAINTS_MAX]


def complaints_of_books(
    reader: QueueReader, records: Records, committed: int, plan: Plan
) -> list[str]:
    """Return where tallies and ledger differ from what was committed, and from the records."""
    wrong = []
    columns = len(plan.columns)
    tallies = [(each.scans, each.samples) for each in reader.tallies().values()]
    if tallies != ([(committed, committed * columns)] if committed else []):
        wrong.append(f"{committed} scans are committed, the tallies say {tallies}")
    account = reader.ledger().total
    if account.collected != committed * columns or account.unexplained:
        wrong.append(f"{committed} scans are committed, the ledger says {account}")
    queued = sum(len(each.values) for each in records if isinstance(each, Record))
    if account.queued != queued:
        wrong.append(f"{queued} samples are queued, the ledger says {account.queued}")
    return wrong
