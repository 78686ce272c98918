"""Goal: a full store of refused messages stops the delivery, in words, and loses nothing.

Method: the real process against a scripted broker, with a store that is full before it starts; the
console's own verb makes the room.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from scripted_broker import Published, ScriptedBroker, disconnect, puback, take
from uplink_rig import Site, wait_until

from common.clock import now_ns
from common.queue import DeadLetter
from common.queue.cursor import SET_ASIDE_BYTES_MAX, SET_ASIDE_MAX
from demo.pki import Pki
from uplink.letters import WAITING_MAX

pytestmark = pytest.mark.process

RECORDS, TAGS = 5, 4
LETTER_BYTES = 4 * 1024**2


def dead_letters(number: int, payload_bytes: int) -> Iterator[DeadLetter]:
    payload = b"x" * payload_bytes
    for index in range(number):
        yield DeadLetter(1, index, "Acme/SiteA/t", payload, "not authorized (0x87)", now_ns())


def tailrace(site: Site, *line: str) -> subprocess.CompletedProcess[str]:
    places = [f"--config={site.config_dir}", f"--run={site.run_dir}", f"--data={site.data_dir}"]
    command = [sys.executable, "-m", "console", "set-aside", *line, *places]
    environment = {**os.environ, "COLUMNS": "100"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("number", "payload_bytes"),
    [(SET_ASIDE_BYTES_MAX // LETTER_BYTES + 1, LETTER_BYTES), (SET_ASIDE_MAX - 1_000, 10)],
    ids=["in bytes", "in number"],
)
def test_a_full_store_stops_the_delivery_until_it_is_emptied(
    site: Site, pki: Pki, number: int, payload_bytes: int
) -> None:
    last = site.fill(RECORDS, TAGS)
    cursor = site.cursor()
    cursor.advance(0, list(dead_letters(number, payload_bytes)))
    cursor.close()
    with ScriptedBroker(pki) as broker:
        site.configure(broker.port)
        site.start()
        wait_until(lambda: site.detail.get("state") == "refused", "it says that it stops")
        said = site.detail["error"]
        wait_until(lambda: broker.messages, "the broker is told that the gateway lives")
        before = broker.samples
        listed = json.loads(tailrace(site, "list", "--json", "--limit", "2").stdout)
        dropped = tailrace(site, "drop", "--target", "uns", "--yes")
        wait_until(lambda: site.detail.get("acked_sequence") == last, "it goes on by itself")
        wait_until(lambda: site.detail["state"] == "online", "and says so")
        assert site.detail["error"] is None
        assert site.detail["set_aside"] == 0
        assert site.stop() == 0

    assert "tailrace set-aside drop" in said
    assert f"{number} set aside" in said
    assert before == [], "nothing is published whose refusal could not be kept"
    assert [(each["target"], each["count"]) for each in listed] == [("uns", number)]
    assert listed[0]["reasons"] == {"not authorized (0x87)": number}
    assert len(listed[0]["newest"]) == 2
    assert (dropped.returncode, dropped.stdout) == (0, f"uns: {number:,} dropped\n")
    assert len(broker.connects) == 1, "all over one connection"


def test_what_was_refused_is_shown_and_dropped_only_when_meant(site: Site, pki: Pki) -> None:
    def answers(message: Published) -> list[bytes]:
        if message.number and message.place[1] == 0:
            return [puback(message.packet_id, 0x87 if message.place[0] > 1 else 0x99)]
        return take(message)

    with ScriptedBroker(pki, answers) as broker:
        last = site.fill(RECORDS, TAGS)
        site.configure(broker.port)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is settled")
        shown = tailrace(site, "list", "--limit", "1")
        unsure = tailrace(site, "drop", "--target", "uns")
        unknown = tailrace(site, "drop", "--target", "erp", "--yes")
        site.stop()

    lines = shown.stdout.splitlines()
    assert shown.returncode == 0, shown.stderr
    assert lines[0] == "uns: 5 messages are set aside"
    assert lines[2].split() == ["4", "not", "authorized", "(0x87)"], "most frequent first"
    assert lines[3].split()[0] == "1"
    assert "Press_Machine/Tag_0" in shown.stdout
    assert '"id":"sitea-line1:' in shown.stdout
    assert unsure.returncode == 2
    assert "--yes" in unsure.stderr
    assert unknown.returncode == 3
    assert "no target 'erp'" in unknown.stderr
    assert "known here: uns" in unknown.stderr
    cursor = site.cursor()
    assert cursor.set_aside_count == 5, "and nothing was dropped"
    assert cursor.position == last, "nor did the cursor move"
    cursor.close()


@pytest.mark.parametrize("lost", [False, True], ids=["answered late", "connection lost"])
def test_refusals_behind_an_unanswered_message_stay_bounded_and_are_all_kept(
    site: Site, pki: Pki, *, lost: bool
) -> None:
    """The cursor waits for the first message, and every letter behind it waits in memory."""
    records, tags, window = 150, 20, 10
    first: list[Published] = []
    refused_before: list[int] = []

    def answers(message: Published) -> list[bytes]:
        if not message.number:
            return take(message)
        if not first:
            first.append(message)
            return []
        return [puback(message.packet_id, 0 if message.place == first[0].place else 0x87)]

    def idle() -> list[bytes]:
        if not first or refused_before:
            return []
        refused_before.append(len(broker.samples) - 1)
        return [disconnect(0x8B)] if lost else [puback(first[0].packet_id)]

    with ScriptedBroker(pki, answers, idle=idle) as broker:
        last = site.fill(records, tags)
        site.configure(broker.port, drain="ordered", in_flight_max=window)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is settled")
        assert site.stop() == 0

    assert WAITING_MAX <= refused_before[0] <= WAITING_MAX + window, "then it waited"
    cursor = site.cursor()
    assert cursor.set_aside_count == records * tags - 1, "each but the first, once"
    cursor.close()
