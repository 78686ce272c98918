"""Goal: the messages that docs/payloads.md shows are the messages that are sent, byte for byte.

Method: each example (```message: topic, headers, payload) is looked for among the messages of one
record and one gap, as the profile of its section words them.

Seen to bite: a key of an example misspelt.
"""

import re
from pathlib import Path

import pytest

from common.records import GapRecord, Quality
from tests.unit.uplink.wordings import GAP, messages, record, wording
from uplink.contract import Message
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


def test_every_profile_and_every_key_is_on_the_page() -> None:
    assert [payload for payload in PAYLOADS if f"| `{payload}`" not in PAGE] == []
    assert [key for key in PayloadConfig.__struct_fields__ if f"`{key}" not in PAGE] == []
