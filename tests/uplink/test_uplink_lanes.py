"""Goal: after an outage current values come first, history completes them, and neither waits.

Method: the real process on a queue that was filled before it starts, against mosquitto and against
a scripted broker. tests/unit/uplink/test_lanes.py plays the states; here are the stories.
"""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from line import Line
from scripted_broker import Published, ScriptedBroker, connack, disconnect, puback, take
from uplink_rig import OPEN, ROOT, Site, Subscriber, identifier, make_plan, wait_until

from common.clock import now_ns
from demo.broker import MosquittoBroker
from demo.pki import Pki
from uplink.intake import AHEAD_RECORDS, RECORDS_MAX

pytestmark = pytest.mark.process

RECORDS, TAGS = 400, 5
WIRE_DELAY_S = 0.01
"""Each way: a drain takes seconds, so that there is a middle to hit."""
DAYS_NS = 3 * 86_400 * 10**9
RARE = make_plan(2, "Valve", "valve")
LIVE = make_plan(1, "Probe", "probe")


def fill_backlog(site: Site, records: int = RECORDS) -> int:
    """Append what waited for days: a tag that changed once, at its beginning, and others."""
    site.fill(1, plan=RARE, read_at_ns=now_ns() - DAYS_NS)
    return site.fill(records, TAGS, read_at_ns=now_ns() - DAYS_NS // 2)


def all_of(last: int) -> set[tuple[int, int]]:
    """Return (sequence, index) of every sample of the backlog."""
    rare = {(1, index) for index in range(len(RARE.columns))}
    return rare | {(sequence, i) for sequence in range(2, last + 1) for i in range(TAGS)}


def hist(message: Published) -> bool:
    return bool(message.payload.get("hist"))


def test_after_an_outage_the_newest_value_of_every_tag_comes_first_and_history_behind_it(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    with MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker:
        subscriber = subscribe(broker.port)
        site.configure(broker.port)
        last = fill_backlog(site)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is settled")
        wait_until(lambda: set(subscriber.identities()) == all_of(last), "everything arrives")
        late = subscribe(broker.port)
        wait_until(lambda: len(late.payloads()) == TAGS + 2, "what is retained")
        assert site.stop() == 0
        cursor = site.cursor()
        assert (cursor.position, cursor.islands) == (last, ())
        cursor.close()

    told = [each for each in subscriber.messages if "id" in each[1]]
    first, rest = told[: TAGS + 2], told[TAGS + 2 :]
    newest = {(1, 0), (1, 1), *[(last, index) for index in range(TAGS)]}
    places = [tuple(map(int, payload["id"].split(":")[2:])) for _, payload, _ in told]
    assert set(places[: TAGS + 2]) == newest, "the newest of every tag, whenever it changed"
    assert all(retained and "hist" not in payload for _, payload, retained in first)
    assert all(not retained and payload["hist"] for _, payload, retained in rest)
    assert places[TAGS + 2 :] == sorted(all_of(last)), "history is complete and in order"
    kept = {topic: payload["value"] for topic, payload, _ in late.messages if "id" in payload}
    assert kept[f"{ROOT}/Valve/Tag_1"] == 1.0
    assert kept[f"{ROOT}/Press_Machine/Tag_0"] == (RECORDS - 1) % RECORDS


def test_a_short_absence_is_told_in_order_as_current_values(site: Site, pki: Pki) -> None:
    with ScriptedBroker(pki) as broker:
        last = site.fill(RECORDS_MAX, 1)
        site.configure(broker.port)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is settled")
        assert site.stop() == 0

    assert [each.place for each in broker.samples] == [(n, 0) for n in range(1, last + 1)]
    assert all(each.retain and not hist(each) for each in broker.samples)


def test_live_values_pass_a_backlog_that_drains(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    with (
        MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker,
        Line(broker.port, delay_s=WIRE_DELAY_S) as wire,
    ):
        subscriber = subscribe(broker.port)
        site.configure(wire.port, in_flight_max=10)
        fill_backlog(site)
        site.start()
        wait_until(lambda: any(p.get("hist") for p in subscriber.payloads()), "backfill begins")
        wait_until(lambda: site.detail["lane"] == "backfill", "the health file says so")
        assert 0 < site.detail["backlog"] <= site.detail["waiting"] <= RECORDS + 1
        fresh = [site.fill(1, plan=LIVE) for _ in range(3)]
        wait_until(lambda: len(subscriber.on(f"{ROOT}/Probe/Tag_0")) == 3, "live values arrive")
        assert len(set(subscriber.identities())) < len(all_of(RECORDS + 1)), "ahead of the rest"
        wait_until(lambda: site.detail.get("acked_sequence") == fresh[-1], "everything is settled")
        wait_until(lambda: site.detail["lane"] == "live", "and it says so")
        assert site.stop() == 0


def test_kill_9_in_mid_backfill_resumes_both_lanes(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    """Seen to bite: a restart that forgets the islands tells everything of the live lane again."""
    with (
        MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker,
        Line(broker.port, delay_s=WIRE_DELAY_S) as wire,
    ):
        subscriber = subscribe(broker.port)
        site.configure(wire.port, in_flight_max=20)
        backlog_last = fill_backlog(site)
        settled: list[tuple[int, set[int]]] = []
        for part in (1, 2, 3):
            site.start()
            goal = part * len(all_of(backlog_last)) // 5
            wait_until(lambda n=goal: len(set(subscriber.identities())) > n, "it drains")  # type: ignore[misc]
            last = site.fill(2, plan=LIVE)
            wait_until(
                lambda n=2 * part: (
                    len({p["id"] for p in subscriber.on(f"{ROOT}/Probe/Tag_0")}) == n
                ),  # type: ignore[misc]
                "live values arrive while it drains",
            )
            site.stop(signal.SIGKILL)
            cursor = site.cursor()
            position, islands = cursor.position, cursor.islands
            cursor.close()
            assert position < backlog_last, "it was killed in mid-backfill"
            assert islands, "and the live lane is ahead"
            covered = {n for first, end in islands for n in range(first, end + 1)}
            covered |= set(range(1, position + 1))
            wait_until(
                lambda c=covered: {s for s, _ in subscriber.identities()} >= c,  # type: ignore[misc]
                "what the cursor covers has arrived",
            )
            settled.append((len(subscriber.payloads()), covered))
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is settled")
        assert site.stop() == 0

    told = [payload for payload in subscriber.payloads() if payload.get("hist")]
    ids = [payload["id"] for payload in told]
    places = [tuple(map(int, each.split(":")[2:])) for each in dict.fromkeys(ids)]
    assert {place for place in places if place[0] <= backlog_last} == all_of(backlog_last)
    assert places == sorted(places), "history goes on where it was"
    assert len(ids) - len(set(ids)) <= 3 * 10 * 20, "not from its beginning"
    for came, covered in settled:
        later = [payload for payload in subscriber.payloads()[came:] if payload.get("hist")]
        again = {identifier(payload)[0] for payload in later} & covered
        assert again == set(), "what the cursor covers never comes again as history"


def test_with_a_receive_maximum_of_1_both_lanes_get_through(site: Site, pki: Pki) -> None:
    with ScriptedBroker(pki, welcome=lambda _: connack(ReceiveMaximum=1)) as broker:
        fill_backlog(site, 100)
        site.configure(broker.port)
        site.start()
        wait_until(lambda: any(map(hist, broker.samples)), "backfill begins")
        last = site.fill(20, plan=LIVE)
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is settled")
        assert site.stop() == 0

    assert {each.place for each in broker.samples} >= all_of(101)


def test_a_pause_of_the_backlog_does_not_stop_live_values(site: Site, pki: Pki) -> None:
    """Seen to bite: with one pause for both lanes the probe came only after it."""
    open_again: list[bool] = []

    def answers(message: Published) -> list[bytes]:
        quota = message.number and hist(message) and not open_again
        return [puback(message.packet_id, 0x97)] if quota else take(message)

    with ScriptedBroker(pki, answers) as broker:
        fill_backlog(site, 100)
        site.configure(broker.port)
        site.start()
        wait_until(lambda: site.detail.get("refused", 0) > 0, "the backlog is refused for now")
        for number in (1, 2, 3):
            site.fill(1, plan=LIVE)
            wait_until(lambda n=number: probes(broker) == n, "a live value passes")  # type: ignore[misc]
        assert site.detail["acked_sequence"] == 0
        open_again.append(True)
        wait_until(lambda: site.detail.get("acked_sequence") == 104, "everything is settled", 90)
        assert site.stop() == 0


def probes(broker: ScriptedBroker) -> int:
    """Return how many live values of the probe have come."""
    return len([each for each in broker.samples if each.topic.endswith("Probe/Tag_0")])


def test_a_poison_message_in_the_backlog_is_set_aside_and_live_values_go_on(
    site: Site, pki: Pki
) -> None:
    poison = (50, 3)

    def answers(message: Published) -> list[bytes]:
        if message.number and message.place == poison:
            return [disconnect(0x95)]
        return take(message)

    with ScriptedBroker(pki, answers) as broker:
        fill_backlog(site, 100)
        site.configure(broker.port)
        site.start()
        wait_until(lambda: site.detail.get("set_aside") == 1, "the culprit is found", 60)
        last = site.fill(1, plan=LIVE)
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is settled")
        assert site.stop() == 0

    others = {each.place for each in broker.samples if each.place != poison}
    assert others == (all_of(101) | {(last, 0)}) - {poison}


def backfilled(subscriber: Subscriber) -> int:
    """Return how many messages of history have come."""
    return sum(1 for each in subscriber.payloads() if each.get("hist"))


def test_live_values_pass_on_a_line_of_64_kbit_a_second(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    """A window of 1,000 messages of the backlog would be half a minute of such a line.

    Judged by what arrives before a live value, not by a clock.
    Seen to bite: without the limit in bytes, a probe came after 22 s.
    """
    with (
        MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker,
        Line(broker.port, bits_per_s=64_000) as line,
    ):
        subscriber = subscribe(broker.port)
        site.configure(line.port, in_flight_max=1_000, backfill_share=0.95, reply_timeout_s=60)
        fill_backlog(site, 2_000)
        site.start()
        wait_until(
            lambda: backfilled(subscriber) > 100,
            "backfill is under way",
            60,
        )
        passed = []
        for number in (1, 2, 3, 4, 5):
            before = backfilled(subscriber)
            site.fill(1, plan=LIVE)
            wait_until(lambda n=number: len(subscriber.on(f"{ROOT}/Probe/Tag_0")) == n, "it passes")  # type: ignore[misc]
            passed.append(backfilled(subscriber) - before)
            goal = backfilled(subscriber) + 20
            wait_until(lambda n=goal: backfilled(subscriber) > n, "the backlog goes on")  # type: ignore[misc]
        assert site.detail["backlog"] > 0, "the line was full all the time"
        assert site.stop() == 0

    assert sorted(passed)[2] < 200, passed


def test_the_live_lane_too_reads_no_further_than_its_claim(site: Site, pki: Pki) -> None:
    """Behind an answer that never comes, as far ahead as half a claim and no further.

    Late for more than 2 s, the lane then jumps to the end once more.
    """
    beyond: list[int] = []
    first: list[int] = []

    def answers(message: Published) -> list[bytes]:
        if message.connection > 1 or not message.number or "Probe" not in message.topic:
            return take(message)
        first.append(message.place[0])
        if message.place[0] >= first[0] + AHEAD_RECORDS:
            beyond.append(message.place[0])
        return [] if message.place[0] == first[0] else take(message)

    with ScriptedBroker(pki, answers) as broker:
        fill_backlog(site, 100)
        site.configure(broker.port, in_flight_max=50, reply_timeout_s=10)
        site.start()
        wait_until(lambda: any(map(hist, broker.samples)), "the live lane has jumped")
        last = site.fill(AHEAD_RECORDS + 1_000, plan=LIVE)
        wait_until(lambda: len(broker.connects) == 2, "the first message is overdue")
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is taken", 60)
        assert site.stop() == 0

    assert set(beyond) <= {last}, "nothing but the newest value, after it has jumped once more"
    assert {each.place[0] for each in broker.samples} == set(range(1, last + 1))
