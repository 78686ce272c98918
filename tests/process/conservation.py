"""The judge of a fault run: what was read is delivered, queued or named as lost, to the sample.

The invariants of every fault run, by number, beside what checks them
    I1  what was committed arrived, or is named in a gap
    I2  what arrived is what was committed: topic and value
    I3  first arrivals are in the queue's order
    I4  repeats are bounded by how often an uplink had to begin again
    I5  after the faults a fresh sample of every machine arrives (fault_schedule.py waits for it)
    I6  collected = unchanged + delivered + queued + lost, in the ledger, in the blocks, in what
        the collectors counted when they read, and in what the auditor saw
"""

from collections import Counter
from pathlib import Path
from typing import Any

from common.outbox import Outbox
from common.queue import Account, Cursor, Ledger, QueueReader
from common.queue.ledger import LOST_BEFORE, LOST_INSIDE, group_key
from common.queue.verifying import verify
from tests.process.fed_gateway import FarSide, Named
from tests.process.gateway_site import COLLECTORS, Audit, GatewaySite

REPEATS_MAX = 1_000
"""For each end of a connection: the window (100), and after a kill also what the far side took in
the 0.1 s since the cursor was last made durable."""

Sample = tuple[str, int]


def assert_all_arrived(audit: Audit, *, disconnects: int) -> None:
    """I1 to I4, where nothing was lost inside the queue."""
    found = once(audit.arrived)
    values = {identity: told for identity, told in found.items() if ":gap" not in identity}

    assert audit.committed.keys() - values.keys() == set(), "I1: nothing committed is missing"
    assert values.keys() - audit.committed.keys() == set(), "I2: nothing is invented"
    assert values == audit.committed, "I2: topics and values are what was committed"
    assert found.keys() - values.keys() == audit.gaps.keys(), "I1: gaps arrive like data"
    assert_each_lane_in_order(found, audit.historical)
    assert len(audit.arrived) - len(found) <= REPEATS_MAX * disconnects, "I4: repeats are bounded"


def assert_each_lane_in_order(found: dict[str, tuple[str, Any]], historical: set[str]) -> None:
    """I3, of `live-first`: history by sequence, current values of each topic by sequence.

    Which lane a gap came by, it does not say; tests/unit/uplink/test_lanes.py looks at those.
    """
    samples = [identity for identity in found if ":gap" not in identity]
    history = [place(identity) for identity in samples if identity in historical]
    assert history == sorted(history), "I3: history is in the queue's order"
    last: dict[str, tuple[int, int]] = {}
    for identity in samples:
        if identity not in historical:
            topic, _ = found[identity]
            assert last.get(topic, (0, 0)) < place(identity), f"I3: {topic}: current, in order"
            last[topic] = place(identity)


def once(arrived: list[tuple[str, str, Any]]) -> dict[str, tuple[str, Any]]:
    """Return what arrived by identity, as it first came; a repeat must be the same message."""
    found: dict[str, tuple[str, Any]] = {}
    for identity, topic, value in arrived:
        first = found.setdefault(identity, (topic, value))
        assert first == (topic, value), f"I2: {identity} came twice, as two different messages"
    return found


def place(identity: str) -> tuple[int, int]:
    """Return (sequence, 0 for data and 1 + number for gaps): a gap follows what stayed."""
    _, _, sequence, index = identity.split(":")
    return int(sequence), 1 + int(index[3:] or 0) if index.startswith("gap") else 0


def assert_each_arrived_or_is_named(side: FarSide, fed: set[Sample]) -> None:
    """I1 to I3, where the queue had to give something up."""
    arrived = set(side.samples.values())
    missing = fed - arrived
    assert side.wrong == [], "I2: every value is what was read"
    assert arrived <= fed, "I2: nothing is invented"
    assert len(arrived) == len(side.samples), "no sample was committed twice"
    for order in side.order.values():
        assert order == sorted(order), "I3: first arrivals are in order, gaps in their place"
    named = sum(gap.samples for gap in side.gaps.values())
    assert len(arrived) + named == len(fed), "I1: arrived + named = read, exactly"
    told = {span: count for span, count in named_in(side.gaps.values()).items() if count}
    found = {span: sum(span[0] <= scan <= span[1] for _, scan in missing) for span in told}
    assert told == found, "I1: in every stretch of time as many are missing as its gaps say"


def named_in(gaps: Any) -> dict[tuple[int, int], int]:
    """Return the samples named in each stretch of time; gaps that overlap are one stretch."""
    stretches: list[tuple[int, int, int]] = []
    gap: Named
    for gap in sorted(gaps, key=lambda each: each.first_scan):
        first, last, samples = gap.first_scan, gap.last_scan, gap.samples
        if stretches and first <= stretches[-1][1]:
            before = stretches.pop()
            first, last, samples = before[0], max(last, before[1]), samples + before[2]
        stretches.append((first, last, samples))
    return {(first, last): samples for first, last, samples in stretches}


def ledger_at_rest(data_dir: Path, target: str = "uns") -> Ledger:
    """I6: return the ledger of a stopped gateway whose target has everything, once it is sound."""
    reader = QueueReader.open(data_dir / "queue")
    cursor = Cursor.open_existing(data_dir / "queue", target)
    found, ledger = verify(reader), reader.ledger(delivered=cursor.position)
    behind, set_aside = reader.last_sequence() - cursor.position, cursor.set_aside_count
    cursor.close()
    reader.close()
    assert found.sound, f"I6: ledger and blocks agree: {found.damaged} {found.differences}"
    assert behind == 0, "everything is acknowledged"
    assert set_aside == 0, "nothing was refused"
    for name, account in [*ledger.devices.items(), ("all", ledger.total)]:
        lost = {cause: loss.samples for cause, loss in account.lost.items()}
        before = sum(lost.get(cause, 0) for cause in LOST_BEFORE)
        inside = sum(lost.get(cause, 0) for cause in LOST_INSIDE)
        assert account.unexplained == 0, f"I6: {name}: no sample is unexplained"
        assert account.collected == account.unchanged + account.entered + before, f"I6: {name}"
        assert account.entered == account.delivered + account.queued + inside, f"I6: {name}"
        assert account.queued == 0, f"I6: {name}: nothing is left"
    return ledger


def assert_ledger_balances(site: GatewaySite) -> Account:
    """I6: ledger, collectors and auditor agree, per group. Return the total."""
    ledger = ledger_at_rest(site.data_dir)
    groups = ledger.groups
    assert {key: each.entered for key, each in groups.items() if each.entered} == (
        site.audit.entered
    ), "I6: what the auditor saw being committed is what entered"
    assert {key: each.collected for key, each in groups.items()} == (
        counted_by_collectors(site, list(groups))
    ), "I6: what each collector counted when it read is what was collected"
    told: Counter[tuple[str, str]] = Counter()
    for gap in site.audit.gaps.values():
        told[group_key(gap.device, gap.group), gap.cause] += gap.samples
    booked = {
        (key, cause): loss.samples
        for key, account in groups.items()
        for cause, loss in account.lost.items()
    }
    assert +told == +Counter(booked), "I1: each loss was told, to the sample"
    return ledger.total


def counted_by_collectors(site: GatewaySite, keys: list[str]) -> dict[str, int]:
    """Return the samples of each group as the collectors' outboxes counted them when read."""
    found = {}
    for collector in COLLECTORS:
        outbox = Outbox.open(site.run_dir / "outbox", collector)
        assert outbox.depth == 0, "nothing waits"
        for key in keys:
            device, _, group = key.partition("/")
            if counts := outbox.counts_of(device, group):
                found[key] = counts[1]
        outbox.close()
    return found
