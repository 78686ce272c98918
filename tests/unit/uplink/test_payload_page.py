"""Goal: the messages that docs/payloads.md shows are the messages that are sent, byte for byte.

Method: each example (```message: topic, headers, payload) is looked for among the messages of one
record and one gap, as the profile of its section words them.

Seen to bite: a key of an example misspelt.
"""

import re
from pathlib import Path

import msgspec
import pytest

from common.records import Column, GapRecord, Plan, Quality, ValueType
from tests.unit.uplink.wordings import ASSET, GAP, PLAN, messages, record, wording
from uplink.contract import Message
from uplink.meta import meta_of, meta_topic
from uplink.registry import PAYLOADS
from uplink.settings import PayloadConfig

PAGE = (Path(__file__).parents[3] / "docs/payloads.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
CODES = [Quality.GOOD, Quality.BAD_TIMEOUT, Quality.GOOD]
SCAN = record([42.5, None, 7], indexes=[0, 1, 2], qualities=CODES)
ONE = record([42.5], indexes=[0])
WORDINGS = {
    "`uns`": wording("uns"),
    "`asset`": wording("asset"),
    "`batch`": wording("batch"),
    "`umh`": wording("umh"),
    "CloudEvents": wording("uns", cloud_events="binary"),
}


def shown(message: Message) -> str:
    headers = "".join(f"{name}: {value}\n" for name, value in message.headers)
    return f"{message.topic}\n{headers}{message.payload.decode()}\n"


@pytest.mark.parametrize("section", WORDINGS)
def test_what_the_page_shows_is_sent(section: str) -> None:
    examples = re.findall(r"^```message\n(.*?)^```", SECTIONS[section], re.DOTALL | re.MULTILINE)
    sent = [
        shown(message)
        for records in ([SCAN], [ONE, GapRecord(4712, GAP)])
        for message in messages(WORDINGS[section], records)
    ]

    assert examples
    assert [each for each in examples if each not in sent] == []


def test_what_the_page_shows_of_a_tag_is_told() -> None:
    """The fingerprint is an example: it changes with whatever a plan may hold one day."""
    column = Column(
        "Temperature_C",
        f"{ASSET}/Temperature_C",
        "DB40.DBD12",
        "REAL",
        ValueType.FLOAT64,
        "Cel",
        description="Oil temperature",
        deadband=0.2,
        minimum=-20.0,
        maximum=120.0,
    )
    plan = Plan("s7", "press", "process", "Press_Machine", 250, (column,), PLAN.levels)
    (example,) = re.findall(
        r"^```message\n(.*?)^```", SECTIONS["What a tag is: `_meta`"], re.DOTALL | re.MULTILINE
    )

    told = msgspec.json.encode(meta_of(plan, 0, addresses=False)).decode()

    shown = re.sub(r'"plan":"[0-9a-f]{32}"', f'"plan":"{plan.fingerprint.hex()}"', example)
    assert shown == f"{meta_topic(column)}\n{told}\n"


def test_every_profile_and_every_key_is_on_the_page() -> None:
    assert [payload for payload in PAYLOADS if f"| `{payload}`" not in PAGE] == []
    assert [key for key in PayloadConfig.__struct_fields__ if f"`{key}" not in PAGE] == []
