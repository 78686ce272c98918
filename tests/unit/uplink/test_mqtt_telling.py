"""Goal: current values may expire and history never; history may take AWS's other way in.

Method: the profile `uns` as a broker's target words it, in each manner.
"""

import pytest

from common.naming import beyond
from common.records import Column, Gap, GapRecord, Plan, Record, ValueType
from uplink.contract import Manner, Message, Wording
from uplink.payloads.uns import UnsWording
from uplink.surroundings import Identity
from uplink.targets.mqtt_config import MqttConfig
from uplink.targets.mqtt_telling import worded_for

TOPIC = "Acme/SiteA/L1/Press_Machine/A"
PLAN = Plan(
    *("s7", "press", "process", "Press_Machine", 250),
    (Column("A", TOPIC, "DB1.DBD0", "REAL", ValueType.FLOAT64),),
)
PROFILE = UnsWording(Identity("g1", 17, "Acme/SiteA/L1", "Acme/SiteA/_edge/g1"))
CURRENT = Manner(historical=False, retained=True, payload_bytes_max=100_000)
BACKFILL = Manner(historical=True, retained=True, payload_bytes_max=100_000)
SAMPLE = Record(sequence=1, plan=PLAN, read_at_ns=10**18, values=[1.0])
GAP = GapRecord(2, Gap("press", "process", "queue-full", 10**18, 10**18, 1, 1))


def told(wording: Wording, record: Record | GapRecord, manner: Manner) -> Message:
    (parcel,) = wording.parcels([record], manner)
    assert wording.index(parcel, 0) == PROFILE.index(parcel, 0)
    return wording.message(parcel, 0)


def target(**keys: object) -> Wording:
    config = MqttConfig(kind="mqtt", host="h", **keys)  # type: ignore[arg-type]  # any key
    return worded_for(PROFILE, config)


def test_without_a_key_the_profile_is_used_as_it_is() -> None:
    assert target() is PROFILE


@pytest.mark.parametrize("record", [SAMPLE, GAP])
def test_current_values_expire_and_history_and_gaps_never(record: Record | GapRecord) -> None:
    """Seen to bite: without the look at the record a gap expired."""
    wording = target(live_expiry_s=60)

    expires = told(wording, record, CURRENT).expiry_s
    assert expires == (60 if record is SAMPLE else 0)
    assert told(wording, record, BACKFILL).expiry_s == 0
    assert told(wording, record, CURRENT)._replace(expiry_s=0) == told(PROFILE, record, CURRENT)


def test_history_goes_to_the_rule_and_is_never_retained() -> None:
    wording = target(broker="aws", basic_ingest_rule="lake")

    history = told(wording, SAMPLE, BACKFILL)
    assert (history.topic, history.retain) == (f"$aws/rules/lake/{TOPIC}", False)
    assert told(wording, SAMPLE, CURRENT) == told(PROFILE, SAMPLE, CURRENT)


def test_the_prefix_of_basic_ingest_is_not_counted() -> None:
    deepest = "/".join("abcdefgh")

    assert beyond("aws", deepest) is None
    assert beyond("aws", f"$aws/rules/lake/{deepest}") is None
    assert "8 slashes" in str(beyond("aws", f"$aws/rules/lake/{deepest}/i"))
