"""Goal: whatever the line does, nothing is lost, nothing stands still, and the state says why.

Method: the real uplink process over a faulty line to real brokers, mosquitto and the embedded one,
TLS 1.3; the fault begins in mid-drain, or lasts from the beginning. What this cannot show: packet
loss and reordering below TCP, which the kernel's TCP repairs or turns into one of these.

Seen to bite: without the look at overdue acknowledgements and pings (`_overdue`), a way back on
which everything vanishes is never noticed. When only the way out does, the broker ends it.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty_line import FaultyLine
from uplink_rig import OPEN, Site, Subscriber, wait_until

from demo.broker import EmbeddedBroker, MosquittoBroker
from demo.pki import Pki

pytestmark = pytest.mark.process

RECORDS, TAGS = 200, 20
ALL = {(sequence, index) for sequence in range(1, RECORDS + 1) for index in range(TAGS)}
STOPPED_IN_MID_DRAIN = 256_000
"""Bits per second: the drain takes some seconds, so that there is a middle to hit."""

Broker = MosquittoBroker | EmbeddedBroker


@pytest.fixture(params=["mosquitto", "embedded"])
def broker(request: pytest.FixtureRequest, tmp_path: Path, pki: Pki) -> Broker:
    if request.param == "embedded":
        return EmbeddedBroker(tmp_path / "broker", pki)
    return MosquittoBroker(tmp_path / "broker", pki, settings=OPEN)


def arrived(subscriber: Subscriber) -> set[object]:
    return set(subscriber.identities())


def black_hole(line: FaultyLine) -> None:
    line.vanish(outward=True, inward=True)


def deaf(line: FaultyLine) -> None:
    line.vanish(outward=True, inward=False)


def mute(line: FaultyLine) -> None:
    line.vanish(outward=False, inward=True)


def resets(line: FaultyLine) -> None:
    line.answering = False
    line.reset()


def half_closes(line: FaultyLine) -> None:
    line.answering = False
    line.half_close()


SILENT = r"did not acknowledge|was silent|never answered|does not answer|did not answer"
ENDED = r"cut the connection|closed the connection|" + SILENT


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (black_hole, SILENT),
        (deaf, SILENT),
        (mute, SILENT),
        (resets, ENDED),
        (half_closes, ENDED),
    ],
)
def test_a_line_that_fails_in_mid_drain_is_named_and_loses_nothing(
    site: Site,
    subscribe: Callable[..., Subscriber],
    broker: Broker,
    fault: Callable[[FaultyLine], None],
    said: str,
) -> None:
    with broker, FaultyLine(broker.port) as line:
        subscriber = subscribe(broker.port)
        line.slow(STOPPED_IN_MID_DRAIN)
        site.configure(line.port, reply_timeout_s=2, connect_timeout_s=1, keepalive_s=5)
        last = site.fill(RECORDS, TAGS)
        site.start()
        wait_until(lambda: len(subscriber.identities()) > len(ALL) // 10, "it drains")

        fault(line)
        wait_until(lambda: site.detail["state"] == "away", "it is noticed")
        wait_until(lambda: re.search(said, str(site.detail["error"])), f"the state says {said}")
        assert site.detail["acked_sequence"] < last, "it failed in mid-drain"
        line.vanish(outward=False, inward=False)
        line.slow(0)
        line.answering = True

        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is taken")
        wait_until(lambda: arrived(subscriber) == ALL, "everything arrives")
        assert site.detail["state"] == "online"
        site.stop()


@pytest.mark.parametrize(
    "worsen",
    [lambda line: line.slow(64_000), lambda line: line.stretch(0.8)],
    ids=["64 kbit/s", "800 ms there and back"],
)
def test_a_line_that_is_only_bad_is_used_and_not_given_up(
    site: Site,
    subscribe: Callable[..., Subscriber],
    broker: Broker,
    worsen: Callable[[FaultyLine], None],
) -> None:
    with broker, FaultyLine(broker.port) as line:
        subscriber = subscribe(broker.port)
        worsen(line)
        site.configure(line.port)
        last = site.fill(40, TAGS)
        site.start()

        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is taken", 90)
        wait_until(lambda: len(arrived(subscriber)) == 40 * TAGS, "everything arrives")
        assert site.detail["state"] == "online"
        assert line.calls == 1, "it was never cut"
        site.stop()


def test_a_name_that_cannot_be_resolved_is_named_and_looked_up_again(
    site: Site,
    subscribe: Callable[..., Subscriber],
    own_names: tuple[Path, list[str]],
    pki: Pki,
    tmp_path: Path,
) -> None:
    hosts, in_front = own_names
    with MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker:
        subscriber = subscribe(broker.port)
        site.configure(broker.port, host="uns.plant.example", server_name="127.0.0.1")
        last = site.fill(10, TAGS)
        site.start(in_front=in_front)
        wait_until(lambda: "cannot be resolved" in str(site.detail.get("error")), "it is named")
        assert site.detail["state"] == "away", "no person has to act: it may be an outage"

        with hosts.open("a") as file:
            file.write("127.0.0.1 uns.plant.example\n")

        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is taken")
        wait_until(lambda: len(arrived(subscriber)) == 10 * TAGS, "everything arrives")
        site.stop()
