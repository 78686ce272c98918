"""Goal: whatever reason code a broker gives, the drain knows what to do and a person knows why.

Method: every row of table 2-6 of the standard (OASIS MQTT 5.0, 2.4) that a broker may send to us,
through a scripted broker: CONNACK, SUBACK and DISCONNECT to the target itself, over real TLS; the
PUBACKs to the real process, whose dead letters are the witness.
"""

from collections import Counter
from pathlib import Path

import pytest
from scripted_broker import HANG_UP, Published, ScriptedBroker, connack, disconnect, puback, take
from uplink_rig import Dial, Site, nothing, until_it_ends, wait_until

from common.errors import TargetUnavailable
from demo.broker import MosquittoBroker
from demo.pki import Pki
from uplink.contract import (
    MessageBlamed,
    TargetBusy,
    TargetContested,
    TargetRefused,
    Verdict,
)
from uplink.drain import TRIES_MAX
from uplink.targets.mqtt_endings import CUTS_MAX, LASTED_S, UNSERVED_MAX, Ending, Endings
from uplink.targets.mqtt_reasons import NAMES, TargetRedirected, verdict_of

AWAY = TargetUnavailable

# Table 2-6: code, name, and the packets in which a broker may send it to a client that publishes
# at QoS 1 and subscribes; then what it must mean in each.
CONNACK = {
    0x80: ("unspecified error", AWAY),
    0x81: ("malformed packet", TargetRefused),
    0x82: ("protocol error", TargetRefused),
    0x83: ("implementation specific error", AWAY),
    0x84: ("unsupported protocol version", TargetRefused),
    0x85: ("client identifier not valid", TargetRefused),
    0x86: ("bad user name or password", TargetRefused),
    0x87: ("not authorized", TargetRefused),
    0x88: ("server unavailable", TargetBusy),
    0x89: ("server busy", TargetBusy),
    0x8A: ("banned", TargetRefused),
    0x8C: ("bad authentication method", TargetRefused),
    0x90: ("topic name invalid", TargetRefused),
    0x95: ("packet too large", TargetRefused),
    0x97: ("quota exceeded", TargetBusy),
    0x99: ("payload format invalid", TargetRefused),
    0x9A: ("keeps no retained messages", AWAY),
    0x9B: ("QoS not supported", TargetRefused),
    0x9C: ("use another server", TargetRedirected),
    0x9D: ("server moved", TargetRedirected),
    0x9F: ("connection rate exceeded", TargetBusy),
}
DISCONNECT = {
    0x00: ("success", AWAY),
    0x80: ("unspecified error", AWAY),
    0x81: ("malformed packet", MessageBlamed),
    0x82: ("protocol error", MessageBlamed),
    0x83: ("implementation specific error", AWAY),
    0x87: ("not authorized", MessageBlamed),
    0x89: ("server busy", TargetBusy),
    0x8B: ("server shutting down", AWAY),
    0x8C: ("bad authentication method", TargetRefused),
    0x8D: ("keep alive timeout", AWAY),
    0x8E: ("session taken over", TargetContested),
    0x8F: ("topic filter invalid", AWAY),
    0x90: ("topic name invalid", MessageBlamed),
    0x93: ("receive maximum exceeded", AWAY),
    0x94: ("topic alias invalid", AWAY),
    0x95: ("packet too large", MessageBlamed),
    0x96: ("message rate too high", TargetBusy),
    0x97: ("quota exceeded", TargetBusy),
    0x98: ("administrative action", TargetRefused),
    0x99: ("payload format invalid", MessageBlamed),
    0x9A: ("retain not supported", AWAY),
    0x9B: ("QoS not supported", TargetRefused),
    0x9C: ("use another server", TargetRedirected),
    0x9D: ("server moved", TargetRedirected),
    0x9E: ("shared subscriptions not supported", AWAY),
    0x9F: ("connection rate exceeded", TargetBusy),
    0xA0: ("maximum connect time", AWAY),
    0xA1: ("subscription identifiers not supported", AWAY),
    0xA2: ("wildcard subscriptions not supported", AWAY),
}
SUBACK = {
    0x80: ("unspecified error", AWAY),
    0x83: ("implementation specific error", AWAY),
    0x87: ("not authorized", TargetRefused),
    0x8F: ("topic filter invalid", TargetRefused),
    0x91: ("packet identifier in use", AWAY),
    0x97: ("quota exceeded", TargetBusy),
    0x9E: ("shared subscriptions not supported", TargetRefused),
    0xA1: ("subscription identifiers not supported", TargetRefused),
    0xA2: ("wildcard subscriptions not supported", TargetRefused),
}
PUBACK = {
    0x80: ("unspecified error", Verdict.RETRY),
    0x83: ("implementation specific error", Verdict.RETRY),
    0x87: ("not authorized", Verdict.NEVER),
    0x90: ("topic name invalid", Verdict.NEVER),
    0x91: ("packet identifier in use", Verdict.RETRY),
    0x97: ("quota exceeded", Verdict.LATER),
    0x99: ("payload format invalid", Verdict.NEVER),
}
PAHO_KNOWS_NOT = (0x99, 0x9A)
"""In a CONNACK; of 0x9A nothing is told but that it is heeded."""
GOOD = {0x00: "success", 0x01: "granted QoS 1", 0x02: "granted QoS 2", 0x10: "no matching"}
FROM_CLIENTS_OR_FOR_OTHERS = (0x04, 0x11, 0x18, 0x19, 0x92)


def test_the_table_is_whole_and_every_code_has_its_name() -> None:
    table = {**GOOD, **CONNACK, **DISCONNECT, **SUBACK, **PUBACK}

    assert sorted({*table, *FROM_CLIENTS_OR_FOR_OTHERS}) == sorted(NAMES)
    for code, (name, _) in {**CONNACK, **DISCONNECT, **SUBACK, **PUBACK}.items():
        assert code == 0x9A or NAMES[code] == name


@pytest.mark.parametrize("code", CONNACK)
def test_a_refused_connection(dial: Dial, pki: Pki, code: int) -> None:
    says, kind = CONNACK[code]
    with (
        ScriptedBroker(pki, welcome=lambda _: connack(code, ReasonString="so it is")) as broker,
        pytest.raises(TargetUnavailable) as caught,
    ):
        dial(broker.port).connect(nothing)

    assert type(caught.value) is kind
    assert says in str(caught.value), "it names the cause"
    assert ("; " in str(caught.value)) >= issubclass(kind, TargetRefused), "and what to do"
    assert "so it is" in str(caught.value) or code in PAHO_KNOWS_NOT, "and the broker's own words"


@pytest.mark.parametrize("code", DISCONNECT)
def test_the_end_of_a_connection(dial: Dial, pki: Pki, code: int) -> None:
    says, kind = DISCONNECT[code]
    with ScriptedBroker(pki, lambda _: [disconnect(code)]) as broker:
        error = until_it_ends(dial(broker.port).connect(nothing), "t")

    assert type(error) is kind
    assert says in str(error)


@pytest.mark.parametrize("code", [0x8F, 0xA3, 0xFF])
def test_a_code_that_the_standard_does_not_have_there(dial: Dial, pki: Pki, code: int) -> None:
    """Seen to bite: paho dropped the connection, and the cause was `Bad file descriptor`."""
    named = f"(0x{code:02X})"
    with (
        ScriptedBroker(pki, welcome=lambda _: connack(code)) as broker,
        pytest.raises(TargetUnavailable, match=named) as caught,
    ):
        dial(broker.port).connect(nothing)
    assert type(caught.value) is AWAY
    with ScriptedBroker(pki, lambda _: [disconnect(code)]) as broker:
        assert named in str(until_it_ends(dial(broker.port).connect(nothing), "t"))


@pytest.mark.parametrize("code", SUBACK)
def test_a_refused_subscription(dial: Dial, pki: Pki, code: int) -> None:
    says, kind = SUBACK[code]
    with ScriptedBroker(pki, suback=code) as broker, pytest.raises(TargetUnavailable) as caught:
        dial(broker.port, ("spBv1.0/+",)).connect(nothing)

    assert type(caught.value) is kind
    assert says in str(caught.value)


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_granted_subscription(dial: Dial, pki: Pki, code: int) -> None:
    with ScriptedBroker(pki, suback=code) as broker:
        dial(broker.port, ("spBv1.0/+",)).connect(nothing).close()


@pytest.mark.process
def test_every_acknowledgement(site: Site, pki: Pki) -> None:
    """Sample n is answered with code n until it is set aside, or twice where that is never."""
    codes = [*range(0x03), 0x10, *range(0x80, 0xA3), 0xFF]
    tries: Counter[int] = Counter()

    def answers(message: Published) -> list[bytes]:
        if not message.number:
            return take(message)
        index = message.place[1]
        tries[index] += 1
        passes = verdict_of(codes[index]) is Verdict.LATER and tries[index] == 2
        return [puback(message.packet_id, 0 if passes else codes[index])]

    with ScriptedBroker(pki, answers) as broker:
        site.configure(broker.port)
        last = site.fill(1, len(codes))
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is settled")
        assert site.stop() == 0

    cursor = site.cursor()
    letters = {codes[each.index]: each.reason for each in cursor.set_aside()}
    cursor.close()
    for index, code in enumerate(codes):
        verdict = PUBACK.get(code, ("", verdict_of(code)))[1]
        assert verdict is verdict_of(code)
        expected = {Verdict.RETRY: TRIES_MAX, Verdict.LATER: 2}.get(verdict, 1)
        assert tries[index] == expected, f"0x{code:02X}"
        assert (code in letters) == (verdict in (Verdict.NEVER, Verdict.RETRY))
    for code, reason in letters.items():
        assert f"{NAMES.get(code, 'unknown reason')} (0x{code:02X})" == reason


def ending(**changes: object) -> Ending:
    closed = AWAY("b:8883 closed the connection")
    usual = {"code": None, "closed": True, "lasted_s": 1.0, "taken": 1, "in_flight": 0}
    return Ending(closed, **{**usual, **changes})  # type: ignore[arg-type]


def endings(*, reasons: bool = True) -> Endings:
    return Endings("g1", plenty=100, reasons=reasons, follows=False)


def judged(memory: Endings, **changes: object) -> list[type]:
    """Return what ever the same end means, time after time."""
    return [type(memory.judged(ending(**changes))) for _ in range(CUTS_MAX + 1)]


def test_being_cut_off_again_and_again_without_a_word_is_told_as_a_take_over() -> None:
    memory = endings()

    assert judged(memory) == [AWAY, AWAY, TargetRefused, TargetRefused]
    assert "another client uses our client_id 'g1'" in str(memory.judged(ending()))
    assert "'g1'" in memory.note(1.0), "whoever comes back says so"
    assert memory.note(LASTED_S) == "", "until it has lasted"
    assert memory.note(1.0) == "", "and then it is over"


@pytest.mark.parametrize(
    "innocent", [{"closed": False}, {"lasted_s": 30.0}, {"in_flight": 5}, {"code": 0x8B}]
)
def test_other_ends_are_no_take_over(innocent: dict[str, object]) -> None:
    """A lost line, a broker restarted now and then, a message that it hangs up on."""
    assert judged(endings(), **{"closed": "code" not in innocent, **innocent}) == [AWAY] * 4


def test_a_long_connection_between_two_short_ones_begins_the_count_anew() -> None:
    memory = endings()
    found = [memory.judged(ending(lasted_s=s)) for s in (1.0, 1.0, 60.0, 1.0, 1.0)]

    assert [type(each) for each in found] == [AWAY] * 5


def test_in_mqtt_3_1_1_a_message_over_which_the_broker_hangs_up_is_blamed() -> None:
    assert judged(endings(reasons=False), in_flight=1) == [AWAY, AWAY, *[MessageBlamed] * 2]
    assert judged(endings(reasons=False), in_flight=1, taken=0) == [AWAY] * 4, (
        "who takes nothing at all is ill: its messages are not to blame"
    )


def test_a_client_that_is_not_authorised_at_all_is_refused_and_sets_nothing_aside() -> None:
    """Seen to bite: without a limit messages were blamed for ever, to be set aside one by one."""
    memory = endings()
    one = {"code": 0x87, "closed": False, "in_flight": 1}

    assert type(memory.judged(ending(**one, taken=4))) is MessageBlamed
    none = [
        memory.judged(ending(**one, taken=0)._replace(error=TargetRefused("denied")))
        for _ in range(UNSERVED_MAX + 2)
    ]
    assert [type(each) for each in none] == [*[MessageBlamed] * 2, *[TargetRefused] * 2]
    assert type(memory.judged(ending(**one, taken=1))) is MessageBlamed, "it is allowed again"


@pytest.mark.process
def test_one_denied_topic_over_which_the_broker_disconnects_is_set_aside(
    site: Site, pki: Pki
) -> None:
    """As AWS IoT Core does: 0x87, and the connection ends."""

    def answers(message: Published) -> list[bytes]:
        denied = message.topic.endswith("Tag_2")
        return [disconnect(0x87)] if denied else take(message)

    with ScriptedBroker(pki, answers) as broker:
        site.configure(broker.port)
        last = site.fill(1, 4)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is settled")
        assert site.stop() == 0

    assert {each.place[1] for each in broker.samples} == {0, 1, 2, 3}
    cursor = site.cursor()
    (letter,) = cursor.set_aside()
    cursor.close()
    assert letter.index == 2
    assert "not authorized (0x87)" in letter.reason


@pytest.mark.process
def test_a_take_over_is_waited_out_for_minutes_and_told(site: Site, pki: Pki) -> None:
    with ScriptedBroker(pki, lambda _: [disconnect(0x8E)]) as broker:
        site.configure(broker.port)
        site.fill(1, 4)
        site.start()
        wait_until(lambda: site.detail.get("state") == "refused", "it is told")
        assert site.stop() == 0

    assert "another client uses our client_id 'tailrace-sitea-line1-uns'" in site.detail["error"]
    (wait_s,) = [
        float(line.rpartition("next_try_s=")[2])
        for line in site.log.splitlines()
        if "next_try_s" in line
    ]
    assert wait_s >= 60
    assert len(broker.connects) == 1, "no storm"


def test_two_clients_of_one_name_on_a_real_broker(dial: Dial, pki: Pki, tmp_path: Path) -> None:
    """Mosquitto 2.0.11 says nothing to the one that it disconnects."""
    with MosquittoBroker(tmp_path / "broker", pki) as broker:
        ours, other = dial(broker.port), dial(broker.port)
        found = []
        for _ in range(CUTS_MAX):
            first, second = ours.connect(nothing), other.connect(nothing)
            found.append(until_it_ends(first))
            second.close()
        again = ours.connect(nothing)
        notes = again.notes
        again.close()

    assert [type(each) for each in found] == [AWAY, AWAY, TargetRefused]
    assert "another client uses our client_id 'tailrace-sitea-line1-uns'" in str(found[-1])
    assert "'tailrace-sitea-line1-uns'" in " ".join(notes), "the state survives coming back"


def test_a_broker_that_only_closes(dial: Dial, pki: Pki) -> None:
    def answers(message: Published) -> list[bytes]:
        return [*take(message), HANG_UP]

    with ScriptedBroker(pki, answers) as broker:
        target = dial(broker.port)
        found = [until_it_ends(target.connect(nothing), "t") for _ in range(CUTS_MAX)]

    assert [type(each) for each in found] == [AWAY, AWAY, TargetRefused]
    assert "client_id" in str(found[-1])
