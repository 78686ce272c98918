"""Goal: what was set aside arrives after all once the far side takes it, and holds up nothing.

Method: the real process against a scripted broker that changes its mind, and the console's own
verbs beside it; the witnesses are the broker, the store and the health file.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_broker import HANG_UP, Published, ScriptedBroker, connack, disconnect, puback, take
from uplink_rig import Site, wait_until

from common.clock import now_ns
from common.queue import DeadLetter
from demo.pki import Pki

pytestmark = pytest.mark.process

RECORDS, TAGS = 6, 4
FORBIDDEN = "Tag_0"


def tailrace(site: Site, *line: str) -> Any:
    places = [f"--config={site.config_dir}", f"--run={site.run_dir}", f"--data={site.data_dir}"]
    command = [sys.executable, "-m", "console", "set-aside", *line, *places, "--json"]
    environment = {**os.environ, "COLUMNS": "100"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def letters(site: Site) -> list[DeadLetter]:
    """Return what is in the store; only while the uplink does not run."""
    cursor = site.cursor()
    found = cursor.set_aside()
    cursor.close()
    return found


def refuse_letters(site: Site, number: int, payload: bytes = b"") -> None:
    """Fill the store as an uplink does."""
    cursor = site.cursor()
    cursor.advance(0, list(_stored(number, payload)))
    cursor.close()


def _stored(number: int, payload: bytes) -> Iterator[DeadLetter]:
    for index in range(number):
        told = payload or json.dumps({"value": index, "id": f"sitea-line1:1:9000:{index}"}).encode()
        yield DeadLetter(9_000, index, f"Acme/SiteA/old/{index}", told, "not authorized", now_ns())


def old(broker: ScriptedBroker) -> list[Published]:
    return [each for each in broker.samples if "/old/" in each.topic]


class Mind:
    """What the broker thinks of the forbidden topic."""

    def __init__(self) -> None:
        self.code = 0x87

    def __call__(self, message: Published) -> list[bytes]:
        refused = message.number and message.topic.endswith(FORBIDDEN)
        return [puback(message.packet_id, self.code if refused else 0)]


def test_what_is_retried_arrives_as_it_was_worded_and_leaves_the_store(
    site: Site, pki: Pki
) -> None:
    """Seen to bite: published with the retain flag that it had."""
    mind = Mind()
    with ScriptedBroker(pki, mind) as broker:
        last = site.fill(RECORDS, TAGS)
        site.configure(broker.port)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is settled")
        first = [each for each in broker.samples if each.topic.endswith(FORBIDDEN)]
        mind.code = 0
        (asked,) = tailrace(site, "retry", "--topic", FORBIDDEN, "--first", "2")
        wait_until(lambda: site.detail.get("retried") == RECORDS - 1, "they are taken")
        wait_until(lambda: site.detail.get("retry_waiting") == 0, "none waits")
        wait_until(lambda: site.detail.get("set_aside") == 1, "one was not asked for")
        again = broker.samples[RECORDS * TAGS :]
        assert site.stop() == 0

    assert (asked["count"], asked["waiting"], asked["left"]) == (RECORDS - 1, RECORDS - 1, RECORDS)
    assert [each.payload for each in again] == [each.payload for each in first[1:]]
    assert {each.retain for each in again} == {False}, "an old value is not the newest"
    assert [each.sequence for each in letters(site)] == [1]
    assert len(broker.connects) == 1


def test_what_is_refused_again_stands_with_the_new_reason_and_the_number_of_tries(
    site: Site, pki: Pki
) -> None:
    """Seen to bite: with the mark kept, the uplink published it for ever."""
    mind = Mind()
    with ScriptedBroker(pki, mind) as broker:
        last = site.fill(RECORDS, TAGS)
        site.configure(broker.port)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is settled")
        for tries, mind.code in enumerate((0x99, 0x80), 1):
            tailrace(site, "retry", "--all")
            wait_until(lambda: _tries(site) == {tries}, "each was tried once more")  # noqa: B023 - called before the next
        wait_until(lambda: site.detail.get("retry_waiting") == 0, "none waits")
        sent = len(broker.samples)
        assert site.stop() == 0

    assert sent == RECORDS * TAGS + 2 * RECORDS, "asked once, tried once, whatever the refusal"
    assert {each.reason for each in letters(site)} == {"unspecified error (0x80)"}
    assert site.detail["retried"] == 0
    assert site.detail["set_aside"] == RECORDS


def _tries(site: Site) -> set[int]:
    (found,) = tailrace(site, "list")
    return {each["tries"] for each in found["newest"]} if not found["waiting"] else set()


def test_a_quota_only_delays_what_is_retried(site: Site, pki: Pki) -> None:
    """Seen to bite: counted as a refusal, a busy broker put every letter back."""
    patience = [3]

    def answers(message: Published) -> list[bytes]:
        if "/old/" in message.topic and patience[0]:
            patience[0] -= 1
            return [puback(message.packet_id, 0x97)]
        return take(message)

    site.fill(1)
    refuse_letters(site, 5)
    with ScriptedBroker(pki, answers) as broker:
        site.configure(broker.port)
        site.start()
        tailrace(site, "retry", "--all")
        wait_until(lambda: site.detail.get("retried") == 5, "all are taken")
        assert site.stop() == 0

    assert letters(site) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_in_between_the_uplink_publishes_them_again(
    site: Site, pki: Pki, number: signal.Signals
) -> None:
    """Seen to bite: deleted when published, not when taken, they were gone."""
    silent = threading.Event()
    silent.set()

    def answers(message: Published) -> list[bytes]:
        return [] if "/old/" in message.topic and silent.is_set() else take(message)

    last = site.fill(RECORDS, TAGS)
    refuse_letters(site, 5)
    with ScriptedBroker(pki, answers) as broker:
        site.configure(broker.port)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "the data arrived")
        tailrace(site, "retry", "--all")
        wait_until(lambda: len(old(broker)) == 5, "they are on their way")
        site.stop(number)
        assert len(letters(site)) == 5
        silent.clear()
        site.start()
        wait_until(lambda: site.detail.get("retried") == 5, "they are taken")
        assert site.stop() == 0

    assert letters(site) == []
    assert len(old(broker)) == 10


def test_with_a_window_of_one_and_a_thousand_letters_the_data_goes_on(site: Site, pki: Pki) -> None:
    """The broker never gives more than one message room; letters leave it to the data mostly.

    Seen to bite: without the rest between letters they took every second place.
    """
    letters_marked = 1_000
    site.fill(1, TAGS)
    refuse_letters(site, letters_marked)

    def welcome(_: int) -> bytes:
        return connack(ReceiveMaximum=1)

    with ScriptedBroker(pki, welcome=welcome) as broker:
        site.configure(broker.port)
        tailrace(site, "retry", "--all")
        last = site.fill(100, TAGS)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "the data arrived")
        beside = len(old(broker))
        wait_until(lambda: len(old(broker)) > beside, "and the letters go on")
        assert site.stop() == 0

    assert beside < len(broker.samples) // 2, "most places were the data's"
    assert len(letters(site)) == letters_marked - len({each.topic for each in old(broker)})


def test_a_letter_that_ends_connections_is_put_back_and_blames_no_data(
    site: Site, pki: Pki
) -> None:
    """The broker hangs up over one of the letters and does not say over which.

    Seen to bite: without trying each alone, all in flight were put back with a blame of one.
    """
    poison = "old/3"

    def answers(message: Published) -> list[bytes]:
        if message.topic.endswith(poison):
            return [disconnect(0x95), HANG_UP]
        return take(message)

    site.fill(1, TAGS)
    refuse_letters(site, 8)
    with ScriptedBroker(pki, answers) as broker:
        site.configure(broker.port)
        tailrace(site, "retry", "--all")
        site.start()
        wait_until(lambda: site.detail.get("retried") == 7, "the others are taken")
        wait_until(lambda: site.detail.get("retry_waiting") == 0, "none waits")
        last = site.fill(RECORDS, TAGS)
        wait_until(lambda: site.detail.get("acked_sequence") == last, "the data goes on")
        assert site.stop() == 0

    (left,) = letters(site)
    assert left.topic.endswith(poison)
    assert "0x95" in left.reason
    assert left.tries == 1


def test_what_was_never_worded_or_counts_in_another_session_is_not_published(
    site: Site, pki: Pki
) -> None:
    site.fill(1, TAGS)
    cursor = site.cursor()
    cursor.advance(
        0,
        [
            DeadLetter(7, 0, "", b"", "cannot be worded: too large", now_ns()),
            DeadLetter(8, 0, "spBv1.0/g/NDATA/e", b"\x08", "packet too large", now_ns()),
        ],
    )
    cursor.close()
    with ScriptedBroker(pki) as broker:
        site.configure(broker.port)
        tailrace(site, "retry", "--all")
        site.start()
        wait_until(lambda: site.detail.get("retry_waiting") == 0, "both are settled")
        wait_until(lambda: len(broker.samples) == TAGS, "the data arrived")
        assert site.stop() == 0

    unworded, bound = letters(site)
    assert unworded.reason == "cannot be worded: too large", "the reason stays"
    assert "only drop it" in bound.reason
    assert (unworded.tries, bound.tries) == (1, 1)


def test_what_is_dropped_while_it_is_on_its_way_is_not_put_back(site: Site, pki: Pki) -> None:
    dropped = threading.Event()
    waiting: list[Published] = []

    def answers(message: Published) -> list[bytes]:
        if "/old/" in message.topic:
            waiting.append(message)
            return []
        return take(message)

    def idle() -> list[bytes]:
        return [puback(waiting.pop().packet_id, 0x87)] if waiting and dropped.is_set() else []

    last = site.fill(1, TAGS)
    refuse_letters(site, 1)
    with ScriptedBroker(pki, answers, idle=idle) as broker:
        site.configure(broker.port)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "the data arrived")
        tailrace(site, "retry", "--target", "uns", "--reason", "authorized")
        wait_until(lambda: waiting, "it is on its way")
        gone = tailrace(site, "drop", "--target", "uns", "--last", "9000", "--yes")
        dropped.set()
        wait_until(lambda: not waiting, "the broker answered")
        assert site.stop() == 0

    assert (gone["count"], gone["left"], gone["waiting"]) == (1, 0, 0)
    assert letters(site) == []


def test_what_cannot_be_worded_is_set_aside_and_the_data_behind_it_goes_on(
    site: Site, pki: Pki
) -> None:
    """Seen to bite: without the except around the wording, the process ended at the first."""
    last = site.fill(RECORDS, TAGS)
    with ScriptedBroker(pki) as broker:
        site.configure(broker.port)
        site.start(str(Path(__file__).parent / "poisoned_wording.py"))
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is settled")
        assert site.stop() == 0

    assert [each.place for each in broker.samples] == [
        (sequence, index) for sequence in range(1, RECORDS + 1) for index in range(1, TAGS)
    ]
    assert [(each.sequence, each.reason) for each in letters(site)] == [
        (sequence, "cannot be worded: number too large") for sequence in range(1, RECORDS + 1)
    ]
