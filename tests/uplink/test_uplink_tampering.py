"""Goal: who sits on the line can end a connection, and nothing else: no byte is believed.

Method: a relay between the real process and mosquitto flips a byte, cuts in the middle of a TLS
record, or holds the handshake; afterwards the line is honest and everything must have arrived once.
"""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from relay import Change, Relay, unchanged
from uplink_rig import OPEN, Site, Subscriber, first_arrivals, wait_until

from demo.broker import MosquittoBroker
from demo.pki import Pki

pytestmark = pytest.mark.process

RECORDS, TAGS = 20, 20
AFTER_HANDSHAKE_BYTES = 8_000
"""Both directions of a handshake with client certificates are shorter."""


class Flip:
    """Flips one bit of the first byte after a place, once."""

    def __init__(self, place: int) -> None:
        self._place = place
        self.done = threading.Event()

    def __call__(self, data: bytes, before: int) -> bytes:
        at = self._place - before
        if self.done.is_set() or not 0 <= at < len(data):
            return data
        self.done.set()
        return data[:at] + bytes([data[at] ^ 0x01]) + data[at + 1 :]


def is_whole(subscriber: Subscriber) -> bool:
    return len(set(subscriber.identities())) == RECORDS * TAGS


@pytest.mark.parametrize("direction", ["outward", "inward"])
@pytest.mark.parametrize("place", [300, AFTER_HANDSHAKE_BYTES], ids=["handshake", "data"])
def test_a_flipped_bit_ends_the_connection_and_is_never_delivered(
    site: Site,
    subscribe: Callable[..., Subscriber],
    pki: Pki,
    tmp_path: Path,
    direction: str,
    place: int,
) -> None:
    flip = Flip(place)
    outward: Change = flip if direction == "outward" else unchanged
    inward: Change = flip if direction == "inward" else unchanged
    with (
        MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker,
        Relay(broker.port, outward=outward, inward=inward) as relay,
    ):
        subscriber = subscribe(broker.port)
        site.configure(relay.port)
        site.fill(RECORDS, TAGS)
        site.start()
        # What comes back is short: small acknowledgements must add up to the place.
        wait_until(lambda: is_whole(subscriber), "everything arrives")
        while not flip.done.is_set():
            last = site.fill(RECORDS, TAGS)
            wait_until(lambda last=last: site.detail.get("acked_sequence") == last, "it drains")
        wait_until(lambda: "broker is away" in site.log, "the connection was given up")
        wait_until(lambda: site.detail.get("state") == "online", "and made anew")
        assert site.stop() == 0

    order = first_arrivals(subscriber.identities())
    assert order == sorted(order), "nothing lost, nothing invented, in order"


def test_a_line_cut_within_a_record_is_no_end_of_a_message(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    """Truncation: the relay passes on half of what came, then hangs up."""
    cut = threading.Event()

    def halve(data: bytes, before: int) -> bytes:
        if before < AFTER_HANDSHAKE_BYTES or cut.is_set():
            return data
        cut.set()
        return data[: len(data) // 2]

    with (
        MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker,
        Relay(broker.port, outward=halve) as relay,
    ):
        subscriber = subscribe(broker.port)
        site.configure(relay.port)
        site.fill(RECORDS, TAGS)
        site.start()
        wait_until(cut.is_set, "half of it was passed on")
        relay.cut()
        wait_until(lambda: is_whole(subscriber), "everything arrives all the same")
        assert site.stop() == 0

    order = first_arrivals(subscriber.identities())
    assert order == sorted(order)


def test_a_stalled_handshake_is_given_up_and_holds_up_nothing(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    """The far side takes our hello and never says another word."""
    stalled = threading.Event()
    stalled.set()

    def silence(data: bytes, _before: int) -> bytes:
        return b"" if stalled.is_set() else data

    with (
        MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker,
        Relay(broker.port, inward=silence) as relay,
    ):
        subscriber = subscribe(broker.port)
        site.configure(relay.port, connect_timeout_s=1)
        site.fill(RECORDS, TAGS)
        site.start()
        wait_until(
            lambda: (
                "took the connection but never answered over TLS" in str(site.detail.get("error"))
            ),
            "the stall is told",
        )
        stalled.clear()
        wait_until(lambda: is_whole(subscriber), "it delivers once the line is honest")
        assert site.stop() == 0
