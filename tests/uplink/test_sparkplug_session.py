"""Goal: a Sparkplug host sees a session as the specification describes it, from birth to death.

Method: the real uplink process and mosquitto; a host that decodes with Eclipse Tahu checks every
message it gets (sparkplug_rig.Model), so each test proves all of those rules beside its own.
"""

import signal
from collections.abc import Callable

import numpy as np
import pytest
from sparkplug_rig import ASSET, GROUP, NODE, REBIRTH, Host, configure
from uplink_rig import EDGE, GATEWAY, ROOT, Site, make_plan, wait_until

from common.block import Layout, Part
from common.clock import now_ns
from common.queue import Bounds, QueueWriter
from common.records import Column, Gap, Plan, Quality, ValueType
from demo.broker import MosquittoBroker

pytestmark = pytest.mark.process

HOUR_NS = 3_600_000_000_000


def append(site: Site, parts: list[Part | Gap], plans: list[Plan]) -> int:
    """Append to the real queue, as the normalizer does."""
    queue = QueueWriter.create(site.data_dir / "queue", Bounds(capacity_bytes=256 * 1024**2))
    last = queue.append(parts, plans=plans)
    queue.close()
    return last


def delivered(site: Site, last: int) -> None:
    wait_until(lambda: site.detail.get("acked_sequence") == last, f"{last} is acknowledged")


def test_births_come_first_with_values_and_data_follows_by_alias(
    site: Site, mosquitto: MosquittoBroker, listen: Callable[[int], Host]
) -> None:
    """Seen to bite: births behind the data that makes them necessary; seq of the DBIRTH 0."""
    last = site.fill(40, tags=3)
    configure(site, mosquitto.port)
    host = listen(mosquitto.port)
    site.start()
    delivered(site, last)

    model = host.model
    wait_until(lambda: len(model.told) == 120, "every sample is there")
    host.check()
    assert model.kinds[:2] == [("NBIRTH", ""), ("DBIRTH", ASSET)]
    assert set(model.kinds[2:]) == {("DDATA", ASSET)}
    assert model.bd_seqs == [0]
    assert model.values("Tag_2") == [2.0 + record for record in range(40)], "all of it, in order"
    assert not any(each.historical for each in model.told), "it was read just now"
    born = {each.name: each.value for each in model.births if each.device == ASSET}
    assert born == {"Tag_0": 39.0, "Tag_1": 40.0, "Tag_2": 41.0}, "what is true now"


def test_every_type_arrives_with_its_value_its_quality_and_what_it_is(
    site: Site, mosquitto: MosquittoBroker, listen: Callable[[int], Host]
) -> None:
    def column(name: str, value_type: ValueType, **more: object) -> Column:
        return Column(name, f"{ROOT}/Cell7/{ASSET}/{name}", "DB1", "X", value_type, **more)  # type: ignore[arg-type]

    plan = Plan(
        "s7",
        "press",
        "all",
        ASSET,
        250,
        (
            column("Truth", ValueType.BOOL),
            column("Signed", ValueType.INT64),
            column("Unsigned", ValueType.UINT64),
            column(
                "Temperature_C",
                ValueType.FLOAT64,
                unit="Cel",
                minimum=-50.0,
                maximum=400.0,
                description="Oil temperature",
            ),
            column("Text", ValueType.STRING),
            column("Raw", ValueType.BYTES),
            column("Folder/Gone", ValueType.FLOAT64),
        ),
    )
    part = Part(
        Layout(plan),
        now_ns(),
        {
            ValueType.BOOL: np.array([False]),
            ValueType.INT64: np.array([-(2**63)]),
            ValueType.UINT64: np.array([2**64 - 1], dtype=np.uint64),
            ValueType.FLOAT64: np.array([-1.5, 0.0]),
            ValueType.STRING: ["Grüße"],
            ValueType.BYTES: [b"\x00\xff"],
        },
        7,
        nulls=np.array([6], dtype=np.uint16),
        quality_at=np.array([3, 6], dtype=np.uint16),
        qualities=np.array(
            [Quality.UNCERTAIN_ENGINEERING_UNITS_EXCEEDED, Quality.BAD_TIMEOUT], dtype=np.uint32
        ),
    )
    last = append(site, [part], [plan])
    configure(site, mosquitto.port)
    host = listen(mosquitto.port)
    site.start()
    delivered(site, last)

    wait_until(lambda: len(host.model.told) == 7, "every sample is there")
    host.check()
    told = {each.name: each for each in host.model.told}
    born = {each.name: each for each in host.model.births if each.device}
    assert {name: each.value for name, each in told.items()} == {
        "Truth": False,
        "Signed": -(2**63),
        "Unsigned": 2**64 - 1,
        "Temperature_C": -1.5,
        "Text": "Grüße",
        "Raw": b"\x00\xff",
        "Folder/Gone": None,
    }
    assert {each.device for each in told.values()} == {f"Cell7:{ASSET}"}, "one level"
    assert told["Temperature_C"].properties == {
        "Quality": 500,
        "reason": "UncertainEngineeringUnitsExceeded",
    }
    assert told["Folder/Gone"].properties == {"Quality": 0, "reason": "BadTimeout"}
    assert told["Truth"].properties == {}
    assert born["Temperature_C"].properties == {
        "engUnit": "Cel",
        "engLow": -50.0,
        "engHigh": 400.0,
        "documentation": "Oil temperature",
        "readOnly": True,
        "Quality": 500,
        "reason": "UncertainEngineeringUnitsExceeded",
    }
    assert born["Signed"].value == -(2**63)
    assert born["Folder/Gone"].value is None


def test_what_waited_is_history(
    site: Site, mosquitto: MosquittoBroker, listen: Callable[[int], Host]
) -> None:
    """Seen to bite: HISTORICAL left out of the fast way of writing."""
    then_ns = now_ns() - HOUR_NS
    last = site.fill(100, tags=2, read_at_ns=then_ns)
    configure(site, mosquitto.port)
    host = listen(mosquitto.port)
    site.start()
    delivered(site, last)
    last = site.fill(10, tags=2)
    delivered(site, last)

    wait_until(lambda: len(host.model.samples()) == 220, "every sample is there")
    host.check()
    then_ms = then_ns // 1_000_000
    past = [each for each in host.model.told if each.at_ms == then_ms and each.value < 99]
    assert {each.historical for each in past} == {True}, "all but what was newest then"
    assert {each.historical for each in host.model.told if each.at_ms > then_ms} == {False}


def test_a_gap_is_told_in_its_place_by_the_node(
    site: Site, mosquitto: MosquittoBroker, listen: Callable[[int], Host]
) -> None:
    gap = Gap("press", "process", "queue-full", now_ns() - HOUR_NS, now_ns(), 5, 20)
    last = site.fill(3, tags=2, gaps=[gap])
    configure(site, mosquitto.port)
    host = listen(mosquitto.port)
    site.start()
    delivered(site, last)

    wait_until(lambda: host.model.values("Gap", ""), "the gap is told")
    host.check()
    (said,) = host.model.values("Gap", "")
    assert '"cause":"queue-full"' in said
    assert '"samples":20' in said
    assert host.model.kinds[-1] == ("NDATA", "")


def test_leaving_on_purpose_is_a_death_and_coming_back_has_the_next_bd_seq(
    site: Site, mosquitto: MosquittoBroker, listen: Callable[[int], Host]
) -> None:
    """Seen to bite: no NDEATH in `close`; bdSeq counted from 0 in every process."""
    last = site.fill(3)
    configure(site, mosquitto.port)
    host = listen(mosquitto.port)
    for _ in range(3):
        site.start()
        delivered(site, last)
        assert site.stop() == 0
        wait_until(lambda: not host.model.alive, "the death is heard")
        last = site.fill(3)

    host.check()
    assert host.model.bd_seqs == [0, 1, 2]
    assert sorted(set(host.model.deaths)) == [0, 1, 2]
    assert not any(each["online"] for each in host.others[f"{EDGE}/status"][-1:]), "as JSON too"


def test_a_gateway_with_nothing_to_say_is_born_all_the_same(
    site: Site, mosquitto: MosquittoBroker, listen: Callable[[int], Host]
) -> None:
    """Seen to bite: births that wait for the first data."""
    last = site.fill(3)
    configure(site, mosquitto.port)
    site.start()
    delivered(site, last)
    site.stop()
    host = listen(mosquitto.port)
    site.start()
    wait_until(lambda: host.model.devices == {ASSET}, "it is born")

    host.check()
    born = {each.name: each.value for each in host.model.births if each.device}
    assert born["Tag_0"] == 2.0, "with what was told before"
    assert host.model.told == []


def test_a_kill_is_a_death_by_will_and_the_next_birth_has_the_next_bd_seq(
    site: Site, mosquitto: MosquittoBroker, listen: Callable[[int], Host]
) -> None:
    last = site.fill(3)
    configure(site, mosquitto.port)
    host = listen(mosquitto.port)
    for round_ in range(3):
        site.start()
        delivered(site, last)
        site.stop(signal.SIGKILL)
        wait_until(lambda r=round_: host.model.deaths[-1:] == [r], "the will is published")
        assert not host.model.alive, "the will has the bdSeq of its birth"
        last = site.fill(3)

    host.check()
    assert host.model.bd_seqs == [0, 1, 2]
    assert [each for each in host.others[f"{EDGE}/status"] if not each["online"]] == []


def test_a_rebirth_is_granted_with_the_same_bd_seq_and_asking_often_changes_little(
    site: Site, mosquitto: MosquittoBroker, listen: Callable[[int], Host]
) -> None:
    """Seen to bite: bdSeq + 1 for a rebirth; the interval ignored (twenty births)."""
    last = site.fill(3)
    configure(site, mosquitto.port, "rebirth_interval_s = 2")
    host = listen(mosquitto.port)
    site.start()
    delivered(site, last)
    for _ in range(20):
        host.command(REBIRTH)
    wait_until(lambda: len(host.model.bd_seqs) == 2, "it is born again")
    last = site.fill(3)
    delivered(site, last)
    wait_until(lambda: len(host.model.told) == 24, "data goes on")

    host.check()
    assert host.model.bd_seqs == [0, 0], "one birth for all who asked"
    assert host.model.deaths == []


def test_any_other_command_is_refused_and_counted(
    site: Site, mosquitto: MosquittoBroker, listen: Callable[[int], Host]
) -> None:
    last = site.fill(3)
    configure(site, mosquitto.port, "rebirth_interval_s = 1")
    host = listen(mosquitto.port)
    site.start()
    delivered(site, last)
    host.command("Node Control/Reboot")
    host.command(REBIRTH, value=False)
    host.publish(NODE.format(kind="NCMD"), b"\xff\xff", qos=0)

    said = "3 commands refused: this gateway only reads"
    wait_until(lambda: said in site.detail.get("notes", []), "they are counted")
    host.check()
    assert host.model.bd_seqs == [0], "and nothing happened"


def test_a_command_that_the_broker_kept_is_nobody_s_wish(
    site: Site, mosquitto: MosquittoBroker, listen: Callable[[int], Host]
) -> None:
    host = listen(mosquitto.port)
    host.command(REBIRTH, retain=True)
    last = site.fill(3)
    configure(site, mosquitto.port, "rebirth_interval_s = 1")
    site.start()
    delivered(site, last)
    host.command("Node Control/Reboot")
    wait_until(lambda: len(site.detail.get("notes", [])) == 1, "later commands were read")

    host.check()
    assert host.model.bd_seqs == [0]


def test_a_tag_that_comes_with_a_reload_is_born_before_its_data(
    site: Site, mosquitto: MosquittoBroker, listen: Callable[[int], Host]
) -> None:
    """Seen to bite: births only on connecting (an alias that nobody named); aliases by device."""
    last = site.fill(3, tags=2)
    configure(site, mosquitto.port)
    host = listen(mosquitto.port)
    site.start()
    delivered(site, last)
    site.fill(3, plan=make_plan(5))
    last = site.fill(3, plan=make_plan(2, "Meter", "meter"))
    delivered(site, last)

    wait_until(lambda: len(host.model.values("Tag_1", "Meter")) == 3, "every sample is there")
    host.check()
    assert len(host.model.values("Tag_4")) == 3
    assert set(host.model.bd_seqs) == {0}, "the session is the same"
    assert host.model.devices == {ASSET, "Meter"}
    assert host.model.deaths == []


def lost(plan: Plan) -> Part:
    """What a collector says of every tag when nobody can reach the device."""
    count = len(plan.columns)
    every = np.arange(count, dtype=np.uint16)
    return Part(
        Layout(plan),
        now_ns(),
        {ValueType.FLOAT64: np.zeros(count)},
        count,
        nulls=every,
        quality_at=every,
        qualities=np.full(count, Quality.BAD_NO_COMMUNICATION, dtype=np.uint32),
    )


def test_a_device_that_cannot_be_reached_is_dead_and_its_next_value_is_a_birth(
    site: Site, mosquitto: MosquittoBroker, listen: Callable[[int], Host]
) -> None:
    plan = make_plan(2)
    last = site.fill(3, plan=plan)
    configure(site, mosquitto.port)
    host = listen(mosquitto.port)
    site.start()
    delivered(site, last)
    append(site, [lost(plan)], [plan])
    wait_until(lambda: ("DDEATH", ASSET) in host.model.kinds, "the device is declared dead")
    told_before_death = host.model.told[-1]
    last = site.fill(3, plan=plan)
    delivered(site, last)

    wait_until(lambda: len(host.model.values("Tag_0")) == 7, "its values come again")
    host.check()
    assert told_before_death.value is None
    assert told_before_death.properties["reason"] == "BadNoCommunication", "first it is said why"
    death = host.model.kinds.index(("DDEATH", ASSET))
    assert host.model.kinds[death + 1] == ("DBIRTH", ASSET)
    assert host.model.bd_seqs == [0], "the node was alive all the time"


def test_names_instead_of_aliases_and_ids_of_one_s_own(
    site: Site, mosquitto: MosquittoBroker, listen: Callable[[int], Host]
) -> None:
    last = site.fill(3, tags=2)
    settings = 'aliases = false\ngroup_id = "Plant 7"\nedge_node_id = "Press"\ndevices = "path"'
    configure(site, mosquitto.port, settings)
    host = listen(mosquitto.port)
    site.start()
    delivered(site, last)

    device = ROOT.replace("/", ":") + f":{ASSET}"
    wait_until(lambda: len(host.model.values("Tag_1", device)) == 3, "every sample is there")
    host.check()


def test_the_status_of_the_house_is_not_kept_and_can_be_left_out(
    site: Site, mosquitto: MosquittoBroker, listen: Callable[[int], Host]
) -> None:
    last = site.fill(3)
    configure(site, mosquitto.port)
    host = listen(mosquitto.port)
    site.start()
    delivered(site, last)
    wait_until(lambda: host.others[f"{EDGE}/status"], "the status is told")
    site.stop()
    late = listen(mosquitto.port)
    last = site.fill(3)
    configure(site, mosquitto.port, "edge_status = false")
    site.start()
    delivered(site, last)
    wait_until(lambda: late.others[f"{EDGE}/barrier"], "data is confirmed all the same")

    assert late.others[f"{EDGE}/status"] == []
    assert GATEWAY in EDGE
    assert GROUP == "Acme:SiteA"
