"""Goal: no outage and no death of the uplink loses a sample; an outage repeats at most one window.

Method: real processes, stopped and killed in mid-drain; a persistent subscriber keeps the union.
mosquitto keeps its own state over a restart here, because what a broker does with messages that it
acknowledged is its own promise. What this cannot show: power loss of the gateway.
"""

import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from line import Line
from uplink_rig import EDGE, OPEN, Site, Subscriber, first_arrivals, repeats, wait_until

from common.clock import monotonic_s
from demo.broker import MosquittoBroker
from demo.pki import Pki

pytestmark = pytest.mark.process

RECORDS, TAGS = 400, 50
ALL = [(sequence, index) for sequence in range(1, RECORDS + 1) for index in range(TAGS)]
WINDOW = 100


def durable_broker(folder: Path, pki: Pki) -> MosquittoBroker:
    folder.mkdir()
    location = f"persistence_location {folder}/"
    return MosquittoBroker(folder, pki, settings=[*OPEN, "persistence true", location])


WIRE_BITS_PER_S = 8e6
"""With it a drain takes seconds, so that there is a middle to hit."""


def test_a_broker_that_restarts_in_mid_drain_costs_at_most_one_window_of_repeats(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    broker = durable_broker(tmp_path / "broker", pki)
    with broker, Line(broker.port, bits_per_s=WIRE_BITS_PER_S) as wire:
        subscriber = subscribe(broker.port)
        site.configure(wire.port, drain="ordered", in_flight_max=WINDOW)
        last = site.fill(RECORDS, TAGS)
        process = site.start()
        wait_until(lambda: len(subscriber.messages) > len(ALL) // 10, "the drain is under way")

        broker.stop()
        wait_until(lambda: site.detail["state"] == "away", "the uplink notices")
        assert site.detail["acked_sequence"] < last, "the broker stopped in mid-drain"
        broker.start()

        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is taken")
        wait_until(lambda: len(set(subscriber.identities())) == len(ALL), "everything arrives")
        assert process.poll() is None
        site.stop()

    identities = subscriber.identities()
    assert set(identities) == set(ALL), "nothing is lost"
    assert first_arrivals(identities) == ALL, "first arrivals are in order"
    assert repeats(identities) <= WINDOW
    assert "broker is away" in site.log
    assert site.log.count("broker is back") == 1


def test_a_line_that_is_cut_again_and_again_repeats_at_most_a_window_each_time(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    cuts = 4
    broker = MosquittoBroker(tmp_path / "broker", pki, settings=OPEN)
    with broker, Line(broker.port, bits_per_s=WIRE_BITS_PER_S) as wire:
        subscriber = subscribe(broker.port)
        site.configure(wire.port, drain="ordered", in_flight_max=WINDOW)
        last = site.fill(RECORDS, TAGS)
        site.start()
        for cut in range(1, cuts + 1):
            goal = cut * len(ALL) // (cuts + 2)
            wait_until(lambda n=goal: len(subscriber.messages) > n, "it drains")  # type: ignore[misc]
            wire.cut()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is taken")
        wait_until(lambda: len(set(subscriber.identities())) == len(ALL), "everything arrives")
        site.stop()

    identities = subscriber.identities()
    assert set(identities) == set(ALL)
    assert first_arrivals(identities) == ALL
    assert repeats(identities) <= cuts * WINDOW


def test_a_dead_line_is_noticed_and_everything_arrives_after_it(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    broker = MosquittoBroker(tmp_path / "broker", pki, settings=OPEN)
    with broker, Line(broker.port, bits_per_s=WIRE_BITS_PER_S) as wire:
        subscriber = subscribe(broker.port)
        site.configure(wire.port, reply_timeout_s=2, connect_timeout_s=1)
        last = site.fill(RECORDS, TAGS)
        site.start()
        wait_until(lambda: len(subscriber.messages) > len(ALL) // 10, "the drain is under way")

        wire.hold()
        wait_until(lambda: "did not acknowledge" in str(site.detail["error"]), "silence is noticed")
        wire.release()

        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is taken")
        wait_until(lambda: len(set(subscriber.identities())) == len(ALL), "everything arrives")
        site.stop()


def test_a_dead_line_is_noticed_also_when_nothing_is_in_flight(
    site: Site, pki: Pki, tmp_path: Path
) -> None:
    broker = MosquittoBroker(tmp_path / "broker", pki, settings=OPEN)
    with broker, Line(broker.port, bits_per_s=WIRE_BITS_PER_S) as wire:
        site.configure(wire.port, keepalive_s=5, connect_timeout_s=1)
        last = site.fill(1, 1)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "all is quiet")

        wire.hold()
        wait_until(lambda: site.detail["state"] == "away", "two missed pings at most", 15)
        assert "was silent for more than 5 s" in site.detail["error"]
        wire.release()

        wait_until(lambda: site.detail["state"] == "online", "it comes back")
        site.stop()


def test_sigterm_in_mid_drain_ends_in_order_and_the_next_start_continues(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    broker = MosquittoBroker(tmp_path / "broker", pki, settings=OPEN)
    with broker, Line(broker.port, bits_per_s=WIRE_BITS_PER_S) as wire:
        subscriber = subscribe(broker.port)
        site.configure(wire.port, drain="ordered", in_flight_max=WINDOW)
        last = site.fill(RECORDS, TAGS)
        site.start()
        wait_until(lambda: len(subscriber.messages) > len(ALL) // 10, "the drain is under way")

        began_s = monotonic_s()
        assert site.stop() == 0
        assert monotonic_s() - began_s < 5, "told to stop, it stops"
        wait_until(lambda: not subscriber.on(f"{EDGE}/status")[-1]["online"], "it said goodbye")
        position, came = site.position(), len(subscriber.payloads())
        assert 0 < position < last, "it was in mid-drain, and its position is durable"
        covered = {each for each in ALL if each[0] <= position}
        assert set(subscriber.identities()) >= covered, "what is covered has arrived"

        site.start()
        wait_until(lambda: len(set(subscriber.identities())) == len(ALL), "the rest arrives")
        site.stop()

    identities = subscriber.identities()
    assert set(identities) == set(ALL)
    assert first_arrivals(identities) == ALL
    again = repeats(identities)
    assert again <= came - position * TAGS, "only what the position did not cover came again"
    assert again < TAGS, "that is one record that was begun: everything in flight was answered"


@pytest.mark.parametrize("kills", [1, 4])
def test_kill_9_in_mid_drain_loses_nothing(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path, kills: int
) -> None:
    broker = MosquittoBroker(tmp_path / "broker", pki, settings=OPEN)
    with broker, Line(broker.port, bits_per_s=WIRE_BITS_PER_S) as wire:
        subscriber = subscribe(broker.port)
        site.configure(wire.port, drain="ordered", in_flight_max=WINDOW)
        last = site.fill(RECORDS, TAGS)
        for kill in range(1, kills + 1):
            site.start()
            goal = kill * len(ALL) // (kills + 2)
            wait_until(lambda n=goal: len(set(subscriber.identities())) > n, "it drains")  # type: ignore[misc]
            site.stop(signal.SIGKILL)
            position = site.position()
            assert 0 < position < last, "it was killed in mid-drain"
            covered = {each for each in ALL if each[0] <= position}
            wait_until(
                lambda c=covered: set(subscriber.identities()) >= c,  # type: ignore[misc]
                "the position on disk never covers what the broker does not have",
            )
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is taken")
        wait_until(lambda: len(set(subscriber.identities())) == len(ALL), "everything arrives")
        site.stop()

    assert first_arrivals(subscriber.identities()) == ALL, "nothing is lost, the order is kept"


def test_sigterm_stops_while_the_broker_does_not_answer(site: Site) -> None:
    listener = socket.create_server(("127.0.0.1", 0))  # Takes connections, never says a word.
    site.configure(listener.getsockname()[1], connect_timeout_s=60)
    site.fill(10)
    site.start()
    wait_until(lambda: site.health, "it is connecting")

    began_s = monotonic_s()
    assert site.stop() == 0

    assert monotonic_s() - began_s < 5
    listener.close()
