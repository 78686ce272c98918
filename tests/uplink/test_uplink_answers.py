"""Goal: whatever a broker answers, nothing is lost, nothing blocks, nothing is repeated in vain.

Method: the real process against a scripted broker that refuses, forgets, repeats, limits and lies.
"""

from collections import Counter
from collections.abc import Callable

import pytest
from scripted_broker import (
    HANG_UP,
    Published,
    ScriptedBroker,
    connack,
    disconnect,
    puback,
    take,
)
from uplink_rig import Site, wait_until

from common.clock import monotonic_s
from demo.pki import Pki
from uplink.drain import TRIES_MAX
from uplink.status import STATUS_INTERVAL_S

pytestmark = pytest.mark.process

RECORDS, TAGS = 5, 4
ALL = [(sequence, index) for sequence in range(1, RECORDS + 1) for index in range(TAGS)]


def drain(site: Site, broker: ScriptedBroker, **config: object) -> None:
    """Fill a queue, start the uplink, and wait until everything is settled."""
    site.configure(broker.port, **config)
    last = site.fill(RECORDS, TAGS)
    site.start()
    wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is settled")


@pytest.mark.parametrize("code", [0x87, 0x90, 0x95, 0x99, 0xFF])
def test_a_final_no_sets_the_message_aside_and_the_others_arrive(
    site: Site, pki: Pki, code: int
) -> None:
    guilty = f"{ALL[6][0]}:{ALL[6][1]}"

    def answers(message: Published) -> list[bytes]:
        refused = message.payload.get("id", "").endswith(f":{guilty}")
        return [puback(message.packet_id, code if refused else 0)]

    with ScriptedBroker(pki, answers) as broker:
        drain(site, broker)
        assert site.stop() == 0

    assert [each.place for each in broker.samples] == ALL, "each once, in order"
    cursor = site.cursor()
    (letter,) = cursor.set_aside()
    cursor.close()
    assert (letter.sequence, letter.index) == ALL[6]
    assert f"0x{code:02X}" in letter.reason
    assert letter.payload
    assert site.log.count("messages set aside") == 1


def test_a_quota_makes_the_uplink_wait_and_lose_nothing(site: Site, pki: Pki) -> None:
    tries: Counter[tuple[int, int]] = Counter()

    def answers(message: Published) -> list[bytes]:
        if not message.number:
            return take(message)
        tries[message.place] += 1
        return [puback(message.packet_id, 0x97 if tries[message.place] == 1 else 0)]

    with ScriptedBroker(pki, answers) as broker:
        drain(site, broker)
        assert site.stop() == 0

    assert set(tries.values()) == {2}, "each refused once, then taken, and not sent again"
    cursor = site.cursor()
    assert cursor.set_aside_count == 0
    cursor.close()


def test_only_an_acknowledgement_of_data_counts_as_one(site: Site, pki: Pki) -> None:
    """The status is taken, the data never: `last_ack_at_ns` must not look as if all were well."""

    def answers(message: Published) -> list[bytes]:
        return [puback(message.packet_id, 0x97 if message.number else 0)]

    with ScriptedBroker(pki, answers) as broker:
        site.configure(broker.port)
        site.fill(RECORDS, TAGS)
        site.start()
        wait_until(lambda: site.detail.get("refused", 0) >= 2 * RECORDS * TAGS, "refused twice")
        assert site.detail["last_ack_at_ns"] is None
        assert site.stop() == 0


@pytest.mark.parametrize("code", [0x80, 0x83])
def test_an_error_without_a_reason_is_tried_again_a_few_times(
    site: Site, pki: Pki, code: int
) -> None:
    tries: Counter[tuple[int, int]] = Counter()

    def answers(message: Published) -> list[bytes]:
        if not message.number:
            return take(message)
        tries[message.place] += 1
        return [puback(message.packet_id, code if message.place == ALL[3] else 0)]

    with ScriptedBroker(pki, answers) as broker:
        drain(site, broker)
        assert site.stop() == 0

    assert tries.pop(ALL[3]) == TRIES_MAX
    assert set(tries.values()) == {1}
    assert site.detail["set_aside"] == 1


def test_acknowledgements_out_of_order_twice_or_for_nothing_do_no_harm(
    site: Site, pki: Pki
) -> None:
    held: list[int] = []

    def answers(message: Published) -> list[bytes]:
        if not message.number:
            return take(message)
        held.append(message.packet_id)
        if len(held) < TAGS:
            return []
        packets = [puback(packet_id) for packet_id in reversed(held)]
        packets += [puback(held[0]), puback(60_000, 0x87)]
        held.clear()
        return packets

    with ScriptedBroker(pki, answers) as broker:
        drain(site, broker)
        assert site.stop() == 0

    assert [each.place for each in broker.samples] == ALL, "each once, in order"


def test_an_acknowledgement_that_never_comes_ends_the_connection_not_the_data(
    site: Site, pki: Pki
) -> None:
    def answers(message: Published) -> list[bytes]:
        forgotten = message.connection == 1 and message.number == 6
        return [] if forgotten else take(message)

    with ScriptedBroker(pki, answers) as broker:
        drain(site, broker, reply_timeout_s=1)
        assert site.stop() == 0

    places = [each.place for each in broker.samples]
    assert places == [*ALL, ALL[5]], "only what was not acknowledged came again"
    assert "did not acknowledge a message within 1 s" in site.log
    assert "broker is back" in site.log


def test_answers_that_come_with_the_end_of_a_connection_still_count(site: Site, pki: Pki) -> None:
    def answers(message: Published) -> list[bytes]:
        if message.number in (3, 9):
            return [puback(message.packet_id) + disconnect(0x8B)]
        return take(message)

    with ScriptedBroker(pki, answers, welcome=lambda _: connack(ReceiveMaximum=1)) as broker:
        drain(site, broker)
        assert site.stop() == 0

    assert [each.place for each in broker.samples] == ALL, "nothing is repeated"
    assert len(broker.connects) == 3


def test_a_refused_status_does_not_stand_in_the_way_of_the_data(site: Site, pki: Pki) -> None:
    """Mosquitto 2.0.11 with max_queued_messages 0 does this: it refuses, then it hangs up."""

    def answers(message: Published) -> list[bytes]:
        if message.number:
            return take(message)
        return [puback(message.packet_id, 0x87), HANG_UP]

    with ScriptedBroker(pki, answers) as broker:
        drain(site, broker)
        assert site.stop() == 0

    assert {each.place for each in broker.samples} == set(ALL)
    assert len(broker.messages) - len(broker.samples) == 1, "the status was tried once"


def test_a_message_beside_a_status_that_ends_connections_is_not_blamed(
    site: Site, pki: Pki
) -> None:
    """The broker hangs up over our status, when one good message is in flight beside it."""
    held: list[Published] = []

    def answers(message: Published) -> list[bytes]:
        if message.connection == 1:
            held.append(message)
            return [disconnect(0x90)] if len(held) == 2 else []
        return take(message) if message.number else [disconnect(0x90)]

    with ScriptedBroker(pki, answers, welcome=lambda _: connack(ReceiveMaximum=2)) as broker:
        drain(site, broker)
        assert site.stop() == 0

    assert {bool(each.number) for each in held} == {True, False}, "both were in flight"
    assert {each.place for each in broker.samples} == set(ALL)
    cursor = site.cursor()
    assert cursor.set_aside() == [], "no good message was thrown away"
    cursor.close()


def test_a_strike_beside_our_status_does_not_count_against_the_message(
    site: Site, pki: Pki
) -> None:
    def answers(message: Published) -> list[bytes]:
        if message.connection == 1:
            return [disconnect(0x90)] if message.number else []
        chance = message.connection == 2 and message.number
        return [disconnect(0x90)] if chance else take(message)

    with ScriptedBroker(pki, answers, welcome=lambda _: connack(ReceiveMaximum=2)) as broker:
        drain(site, broker)
        assert site.stop() == 0

    assert {each.place for each in broker.samples} == set(ALL)
    assert len(broker.connects) == 3
    cursor = site.cursor()
    assert cursor.set_aside() == [], "only the second connection was lost to it alone"
    cursor.close()


def test_our_status_is_silent_while_a_suspect_is_in_flight(site: Site, pki: Pki) -> None:
    """Longer than the status interval; else the status would share the blame, or spread it."""
    suspect: list[Published] = []
    held_s: list[float] = []
    beside: list[Published] = []

    def answers(message: Published) -> list[bytes]:
        if message.connection == 1:
            return [disconnect(0x90)] if message.number == 2 else []
        if message.number and not suspect:
            suspect.append(message)
            held_s.append(monotonic_s())
            return []
        if len(held_s) == 1:
            beside.append(message)
        return take(message)

    def idle() -> list[bytes]:
        if len(held_s) != 1 or monotonic_s() - held_s[0] < STATUS_INTERVAL_S + 1:
            return []
        held_s.append(monotonic_s())
        return [puback(suspect[0].packet_id)]

    with ScriptedBroker(pki, answers, idle=idle) as broker:
        drain(site, broker)
        assert site.stop() == 0

    assert len(held_s) == 2
    assert beside == [], "nothing else was sent meanwhile"


def test_a_message_that_is_in_flight_when_a_connection_ends_once_is_not_blamed(
    site: Site, pki: Pki
) -> None:
    def answers(message: Published) -> list[bytes]:
        return [disconnect(0x81)] if message.number == 3 else take(message)

    with ScriptedBroker(pki, answers, welcome=lambda _: connack(ReceiveMaximum=1)) as broker:
        drain(site, broker)
        assert site.stop() == 0

    assert {each.place for each in broker.samples} == set(ALL)
    cursor = site.cursor()
    assert cursor.set_aside() == [], "a second strike never came"
    cursor.close()


def test_the_receive_maximum_is_never_exceeded(site: Site, pki: Pki) -> None:
    """The broker answers only when nothing more comes: what waits then is the whole window."""
    waiting: list[int] = []
    windows: list[int] = []

    def answers(message: Published) -> list[bytes]:
        waiting.append(message.packet_id)
        return []

    def idle() -> list[bytes]:
        windows.append(len(waiting))
        packets = [puback(packet_id) for packet_id in waiting]
        waiting.clear()
        return packets

    def welcome(_connection: int) -> bytes:
        return connack(ReceiveMaximum=3)

    with ScriptedBroker(pki, answers, welcome=welcome, idle=idle) as broker:
        drain(site, broker)
        site.stop()

    assert max(windows) == 3, "the window is used, and never exceeded"


def test_a_packet_above_the_announced_maximum_is_never_sent(site: Site, pki: Pki) -> None:
    long = "Acme/SiteA/Stamping/Line1/Press_Machine/Tag_0"
    with ScriptedBroker(pki, welcome=lambda _: connack(MaximumPacketSize=150)) as broker:
        drain(site, broker)
        assert site.stop() == 0

    assert broker.samples == [], "topic, properties and payload together are more than 150 bytes"
    cursor = site.cursor()
    letters = cursor.set_aside()
    cursor.close()
    assert [(each.sequence, each.index) for each in letters] == ALL
    assert letters[0].topic == long
    assert "packet too large" in letters[0].reason


def test_a_broker_that_hangs_up_on_a_message_does_not_do_so_for_ever(site: Site, pki: Pki) -> None:
    """Packet too large as DISCONNECT, without an announced limit: which one is not said."""

    def answers(message: Published) -> list[bytes]:
        if message.number and message.place == ALL[7]:
            return [disconnect(0x95)]
        return take(message)

    with ScriptedBroker(pki, answers) as broker:
        drain(site, broker)
        assert site.stop() == 0

    places = [each.place for each in broker.samples]
    assert set(places) == set(ALL)
    cursor = site.cursor()
    (letter,) = cursor.set_aside()
    cursor.close()
    assert (letter.sequence, letter.index) == ALL[7]
    assert "packet too large" in letter.reason


def test_without_retained_messages_the_data_still_flows(site: Site, pki: Pki) -> None:
    def welcome(connection: int) -> bytes:
        """Refuse the retained will first, as the standard demands of such a broker."""
        return connack(0x9A) if connection == 1 else connack(RetainAvailable=0)

    with ScriptedBroker(pki, welcome=welcome) as broker:
        drain(site, broker)
        assert site.stop() == 0

    assert [each.place for each in broker.samples] == ALL
    assert not any(each.retain for each in broker.messages)
    assert "keeps no retained messages" in " ".join(site.detail["notes"])


@pytest.mark.parametrize(
    ("welcome", "state", "says"),
    [
        (lambda _: connack(MaximumQoS=0), "refused", "only QoS 0, which acknowledges nothing"),
        (lambda _: connack(0x86), "refused", "check user and password_file"),
        (lambda _: connack(0x84), "refused", "does not speak the MQTT that"),
        (
            lambda _: b"\x20\x02\x00\x01",
            "refused",
            "does not speak the MQTT that",
        ),
        (lambda _: connack(0x89, ReasonString="in a minute"), "away", "in a minute"),
        (lambda _: None, "away", "did not answer MQTT's CONNECT"),
        (lambda _: b"\x30\x05\x00\x01t\x00x", "away", "nothing is subscribed"),
        (lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n", "away", "broke the MQTT protocol"),
        (lambda _: connack() + disconnect(0x8E), "refused", "another client uses our client_id"),
        (lambda _: connack() + disconnect(0x8B), "away", "server shutting down"),
    ],
)
def test_each_refusal_of_a_connection_says_what_to_do_and_moves_nothing(
    site: Site, pki: Pki, welcome: Callable[[int], bytes | None], state: str, says: str
) -> None:
    with ScriptedBroker(pki, lambda _: [], welcome=welcome) as broker:
        site.configure(broker.port, connect_timeout_s=1)
        site.fill(RECORDS, TAGS)
        process = site.start()
        wait_until(lambda: says in str(site.detail.get("error")), says)
        wait_until(lambda: site.detail["state"] == state, state)
        assert process.poll() is None, "an unwilling broker never ends the process"
        assert site.stop() == 0

    assert site.position() == 0, "nothing was acknowledged"
