"""Goal: what a broker may ask of a session is obeyed, what we may ask of it works, in 5 and 3.1.1.

Method: the target itself, without a process around it, against a scripted broker and mosquitto.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from scripted_broker import ScriptedBroker, connack, connack_311, disconnect, take
from uplink_rig import (
    EDGE,
    OPEN,
    ROOT,
    Certificates,
    Dial,
    Site,
    Subscriber,
    nothing,
    payload_of,
    until_answered,
    until_it_ends,
    wait_until,
)

from common.clock import monotonic_s
from common.errors import TargetUnavailable
from demo.broker import EmbeddedBroker, MosquittoBroker
from demo.pki import Pki
from uplink.contract import Message, TargetRefused, Verdict
from uplink.targets.mqtt import HOPS_MAX
from uplink.targets.mqtt_reasons import TargetRedirected

STATUS = f"{EDGE}/status"


def message(topic: str, number: int = 1) -> Message:
    return Message(topic, payload_of(number), retain=True)


def test_the_keep_alive_of_the_broker_is_obeyed(dial: Dial, pki: Pki) -> None:
    """Left to paho; this sees that it may."""
    with ScriptedBroker(pki, welcome=lambda _: connack(ServerKeepAlive=1)) as broker:
        connection = dial(broker.port, keepalive_s=3_600).connect(nothing)
        wait_until(lambda: connection.exchange(0.1) or broker.pings >= 2, "it pings at that pace")
        connection.close()


@pytest.mark.parametrize("delay_s", [0, 3_600])
def test_a_will_that_waits_needs_a_session_that_is_not_begun_anew(
    dial: Dial, pki: Pki, delay_s: int
) -> None:
    """Read from the CONNECT: whether the broker then waits is the broker's own affair.

    Seen to bite: with a clean start, which ends the old session and publishes its will at once.
    """
    with ScriptedBroker(pki) as broker:
        dial(broker.port, session_expiry_s=delay_s, will_delay_s=delay_s).connect(nothing).close()
        (connect,) = broker.connects

    clean_start = bool(connect[7] & 0x02)
    assert clean_start == (delay_s == 0)
    assert b"\x11" + delay_s.to_bytes(4, "big") in connect[10:], "session expiry interval"
    assert (b"\x18" + delay_s.to_bytes(4, "big") in connect[10:]) == bool(delay_s)


def test_a_name_given_by_the_broker_is_shown(dial: Dial, pki: Pki, tmp_path: Path) -> None:
    with MosquittoBroker(tmp_path / "broker", pki) as broker:
        first = dial(broker.port, client_id_from="broker").connect(nothing)
        second = dial(broker.port, client_id_from="broker").connect(nothing)
        assert "the broker calls us auto-" in " ".join(first.notes)
        assert first.notes != second.notes
        assert until_answered(first, message("t"))[0].verdict is Verdict.TAKEN
        first.close()
        second.close()


def test_a_redirect_is_refused_unless_allowed(dial: Dial, pki: Pki) -> None:
    def welcome(_connection: int) -> bytes:
        return connack(0x9D, ServerReference="other.example.com:8883")

    with ScriptedBroker(pki, welcome=welcome) as broker:
        with pytest.raises(TargetRedirected, match="sends us to other"):
            dial(broker.port).connect(nothing)
        assert len(broker.connects) == 1


@pytest.mark.parametrize("late", [False, True])
def test_an_allowed_redirect_is_followed_and_told(dial: Dial, pki: Pki, *, late: bool) -> None:
    """Whether it comes in the CONNACK or, later, in a DISCONNECT."""
    with ScriptedBroker(pki) as other:
        where = {"ServerReference": f"localhost:{other.port} spare.example.com"}
        with ScriptedBroker(
            pki,
            lambda _: [disconnect(0x9C, **where)],
            welcome=lambda _: connack() if late else connack(0x9C, **where),
        ) as broker:
            target = dial(broker.port, redirects="follow")
            connection = target.connect(nothing)
            if late:
                assert "going there" in str(until_it_ends(connection, "t"))
                connection = target.connect(nothing)
            assert until_answered(connection, message("t"))[0].verdict is Verdict.TAKEN
            sent_by = f"127.0.0.1:{broker.port} sent us to localhost:{other.port}"
            assert sent_by in connection.notes
            assert target.address == f"localhost:{other.port}"
            connection.close()
        assert [each.topic for each in other.messages] == ["t"]


def test_a_redirect_is_followed_only_to_whom_the_name_belongs(
    dial: Dial, certificates: Certificates, tmp_path: Path
) -> None:
    """Seen to bite: checked for the configured name, the other server was believed."""
    pki = certificates.pki
    server = certificates.authority.server(tmp_path, hosts=("127.0.0.1",))
    with ScriptedBroker(Pki(pki.ca_file, server, pki.client)) as other:
        where = {"ServerReference": f"localhost:{other.port}"}
        with ScriptedBroker(pki, welcome=lambda _: connack(0x9C, **where)) as broker:
            target = dial(broker.port, redirects="follow", server_name="127.0.0.1")
            with pytest.raises(TargetRefused, match="is not for localhost, it is for 127"):
                target.connect(nothing)
            assert target.address == f"127.0.0.1:{broker.port}", "the next try begins at home"
        assert other.connects == []


def test_a_redirect_in_a_circle_ends(dial: Dial, pki: Pki) -> None:
    ports: list[int] = []

    def welcome(_connection: int) -> bytes:
        return connack(0x9C, ServerReference=f"127.0.0.1:{ports[0]}")

    with ScriptedBroker(pki, welcome=welcome) as broker:
        ports.append(broker.port)
        with pytest.raises(TargetRefused, match="from server to server"):
            dial(broker.port, redirects="follow").connect(nothing)
        assert len(broker.connects) == HOPS_MAX + 1


@pytest.mark.parametrize("reference", ["", "!? host", "host:99999"])
def test_a_redirect_to_nowhere_is_refused(dial: Dial, pki: Pki, reference: str) -> None:
    more = {"ServerReference": reference} if reference else {}
    with (
        ScriptedBroker(pki, welcome=lambda _: connack(0x9C, **more)) as broker,
        pytest.raises(TargetRedirected),
    ):
        dial(broker.port, redirects="follow").connect(nothing)


@pytest.mark.parametrize("kind", [MosquittoBroker, EmbeddedBroker])
def test_what_is_said_beside_a_payload_reaches_a_subscriber(
    dial: Dial,
    subscribe: Callable[..., Subscriber],
    pki: Pki,
    tmp_path: Path,
    kind: type[MosquittoBroker] | type[EmbeddedBroker],
) -> None:
    """Seen to bite: mosquitto drops a connection over a wrong property length."""
    headers = (("ce_type", "sample"), ("contract", "1.4.0 \N{DEGREE SIGN}C"))
    with kind(tmp_path / "broker", pki) as broker:
        subscriber = subscribe(broker.port)
        connection = dial(broker.port).connect(nothing)
        full = message("t")._replace(headers=headers, content_type="text/plain", expiry_s=3_600)
        bare = message("t", 2)._replace(content_type="")
        assert taken(list(until_answered(connection, full)))
        wait_until(lambda: len(subscriber.payloads()) == 1, "the first arrives")
        first = subscriber.properties
        assert taken(list(until_answered(connection, bare)))
        wait_until(lambda: len(subscriber.payloads()) == 2, "the second arrives")
        second = subscriber.properties
        connection.close()

    assert first is not None
    assert tuple(getattr(first, "UserProperty", ())) == headers
    assert getattr(first, "ContentType", "") == "text/plain"
    assert getattr(first, "PayloadFormatIndicator", 0) == 1
    assert 0 < getattr(first, "MessageExpiryInterval", 0) <= 3_600
    assert second is not None
    assert not any(
        hasattr(second, name) for name in ("UserProperty", "ContentType", "MessageExpiryInterval")
    )


def taken(answers: list[object]) -> bool:
    return all(getattr(each, "verdict", None) is Verdict.TAKEN for each in answers)


def test_a_topic_is_a_number_once_the_broker_has_taken_it(dial: Dial, pki: Pki) -> None:
    """Seen to bite: a number used before the answer to the message that introduced it."""
    with ScriptedBroker(pki, welcome=lambda _: connack(TopicAliasMaximum=2)) as broker:
        target = dial(broker.port, topic_aliases_max=100)
        connection = target.connect(nothing)
        for number in range(1, 4):
            topics = [message(topic, number) for topic in ("a", "a", "b", "c")]
            assert taken(list(until_answered(connection, *topics)))
        connection.close()
        again = target.connect(nothing)
        assert taken(list(until_answered(again, message("a"))))
        again.close()

    assert [each.topic for each in broker.messages] == ["a", "a", "b", "c"] * 3 + ["a"]
    aliases = [getattr(each.properties, "TopicAlias", 0) for each in broker.messages]
    assert aliases == [1, 0, 2, 0, *[1, 1, 2, 0] * 2, 1]
    sent = [bool(each.sent_topic) for each in broker.messages]
    assert sent == [True] * 4 + [False, False, False, True] * 2 + [True], "anew on each connection"


def test_without_the_brokers_word_there_are_no_aliases(dial: Dial, pki: Pki) -> None:
    with ScriptedBroker(pki) as broker:
        connection = dial(broker.port, topic_aliases_max=100).connect(nothing)
        for _ in range(2):
            assert taken(list(until_answered(connection, message("a"))))
        connection.close()

    assert all(each.sent_topic for each in broker.messages)


def test_a_denied_topic_never_lends_its_number_to_another(
    dial: Dial, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    """Mosquitto knows an alias already when it denies the message that introduced it."""
    acl = f"user sitea-line1\ntopic write {ROOT}/#\nuser lake\ntopic read #\n"
    topics = [f"{ROOT}/A", "Secret/B", f"{ROOT}/C", "Secret/D", f"{ROOT}/E"]
    with MosquittoBroker(tmp_path / "broker", pki, acl=acl, settings=OPEN) as broker:
        subscriber = subscribe(broker.port)
        connection = dial(broker.port, topic_aliases_max=3).connect(nothing)
        for round_ in range(4):
            answers = until_answered(
                connection, *(message(topic, 10 * round_ + i) for i, topic in enumerate(topics))
            )
            verdicts = [each.verdict is Verdict.TAKEN for each in answers]
            assert verdicts == [True, False, True, False, True]
        connection.close()
        wait_until(lambda: len(subscriber.payloads()) == 12, "what was taken arrives")

    for topic, payload, _ in subscriber.messages:
        number = int(payload["id"].split(":")[2]) % 10
        assert topics[number] == topic, "each payload on its own topic"


@pytest.mark.process
def test_mqtt_3_1_1_delivers_and_says_what_it_cannot(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    """Seen to bite: with the properties of MQTT 5 before its payload nothing could be read."""
    acl = (
        f"user sitea-line1\ntopic write {ROOT}/Press_Machine/#\n"
        f"topic write {EDGE}/#\nuser lake\ntopic read #\n"
    )
    with MosquittoBroker(tmp_path / "broker", pki, acl=acl, settings=OPEN) as broker:
        subscriber = subscribe(broker.port)
        site.configure(broker.port, mqtt_version="3.1.1")
        last = site.fill(20, 5)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is settled")
        wait_until(lambda: len(subscriber.payloads()) == 100, "and arrives")
        notes = site.detail["notes"]
        assert site.stop() == 0

    assert "a message that the broker denies counts as delivered" in " ".join(notes)
    assert subscriber.on(STATUS)[-1]["online"] is False, "the goodbye arrives as well"


@pytest.mark.parametrize(
    ("code", "says"), [(1, "unsupported"), (2, "client_id"), (3, "unavailable"), (4, "password")]
)
def test_the_refusals_of_mqtt_3_1_1_are_told_too(
    dial: Dial, pki: Pki, code: int, says: str
) -> None:
    with (
        ScriptedBroker(pki, welcome=lambda _: connack_311(code)) as broker,
        pytest.raises(TargetUnavailable, match=says),
    ):
        dial(broker.port, mqtt_version="3.1.1").connect(nothing)


def test_in_mqtt_3_1_1_a_denied_message_looks_delivered(
    dial: Dial, pki: Pki, tmp_path: Path
) -> None:
    """What the note warns of, as it is: nobody can do better in this version."""
    with MosquittoBroker(
        tmp_path / "broker", pki, acl=f"user sitea-line1\ntopic write {ROOT}/#\n"
    ) as broker:
        connection = dial(broker.port, mqtt_version="3.1.1").connect(nothing)
        assert until_answered(connection, message("Secret/A"))[0].verdict is Verdict.TAKEN
        connection.close()


def test_a_window_of_our_own_bounds_what_is_in_flight_in_mqtt_3_1_1(dial: Dial, pki: Pki) -> None:
    with ScriptedBroker(pki, take, welcome=lambda _: connack_311()) as broker:
        connection = dial(broker.port, mqtt_version="3.1.1", in_flight_max=3).connect(nothing)
        began_s = monotonic_s()
        for number in range(3):
            assert connection.room == 3 - number
            connection.publish(message("t", number))
        assert connection.room == 0
        while connection.room < 3 and monotonic_s() - began_s < 30:
            connection.exchange(0.1)
        assert connection.room == 3
        connection.close()
        wait_until(lambda: broker.goodbyes == 1, "the goodbye is one of MQTT 3.1.1")


def test_a_broker_that_speaks_mqtt_5_alone_is_told(dial: Dial, pki: Pki, tmp_path: Path) -> None:
    """The embedded rumqttd listens for MQTT 5 only, and closes on any other."""
    with (
        EmbeddedBroker(tmp_path / "broker", pki) as broker,
        pytest.raises(TargetUnavailable),
    ):
        dial(broker.port, mqtt_version="3.1.1").connect(nothing)
