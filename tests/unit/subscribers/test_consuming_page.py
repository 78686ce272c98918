"""Goal: what docs/consuming.md shows works as it stands.

Method: its code is run: the consumer on messages with repeats, holes and gaps, the statements on
sqlite, the Kafka loop on librdkafka's own mock cluster.
"""

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

PAGE = Path(__file__).parents[3] / "docs" / "consuming.md"
_BLOCK = re.compile(r"^```(?:python)?(.*?)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = {kind.strip() or "python": code for kind, code in _BLOCK.findall(PAGE.read_text())}
"""What follows the language, or the language where that is SQL → code."""


def sample(sequence: int, index: int = 0, **more: object) -> tuple[str, str]:
    identity = f"sitea:17:{sequence}:{index}"
    payload = {"timestamp_ms": sequence, "value": 1.5, "quality": "Good", "id": identity, **more}
    return f"Acme/Press/T{index}", json.dumps(payload)


def gap(sequence: int, scans: int, cause: str) -> tuple[str, str]:
    facts = {"device": "press", "cause": cause, "scans": scans, "samples": 2 * scans}
    times = {"first_ms": 1, "last_ms": 2}
    return "Acme/_edge/sitea/gap", json.dumps({**facts, **times, "id": f"sitea:17:{sequence}:gap"})


STORY = [
    sample(1),
    sample(1, 1),
    sample(2),
    sample(2),
    gap(6, 4, "queue-full"),
    sample(7),
    sample(10),
    sample(2, hist=True),
]
"""2 came three times, 3 to 6 were given up and told, 8 and 9 vanished."""


@pytest.fixture
def page() -> dict[str, Any]:
    kept: list[Any] = []
    told: list[Any] = []
    names: dict[str, Any] = {
        "keep": lambda topic, payload: kept.append((topic, payload)),
        "tell": told.append,
        "kept": kept,
        "told": told,
    }
    exec(BLOCKS["python"], names)  # noqa: S102 - the page's own code is what is tested
    exec(BLOCKS["kafka"], names)  # noqa: S102 - the same
    return names


def test_the_consumer_keeps_each_sample_once_and_reports_what_is_missing(
    page: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for topic, text in STORY:
        page["on_message"](topic, text)
    page["report"]()

    assert [payload["id"] for _, payload in page["kept"]] == [
        *("sitea:17:1:0", "sitea:17:1:1", "sitea:17:2:0", "sitea:17:7:0", "sitea:17:10:0")
    ]
    assert [payload["cause"] for payload in page["told"]] == ["queue-full"]
    assert capsys.readouterr().out.splitlines() == [
        "sitea: 5 samples, 2 repeats dropped",
        "  8 to 9 never came, and no gap says why",
        "  press: 8 samples lost, queue-full",
    ]


def test_the_table_drops_repeats_and_the_query_finds_the_hole() -> None:
    database = sqlite3.connect(":memory:")
    database.executescript(BLOCKS["sql"])
    for topic, text in STORY:
        payload = json.loads(text)
        gateway, epoch, sequence, index = payload["id"].split(":")
        place = (gateway, int(epoch), int(sequence))
        if "cause" in payload:
            names = ("device", "cause", "first_ms", "last_ms", "scans", "samples")
            row = (*place, 0, *(payload[name] for name in names))
            database.execute("INSERT INTO gap VALUES (?,?,?,?,?,?,?,?,?,?)", row)
        else:
            told = (payload["timestamp_ms"], str(payload["value"]), payload["quality"])
            database.execute(BLOCKS["sql insert"], (*place, int(index), topic, *told))

    assert database.execute("SELECT COUNT(*) FROM sample").fetchone() == (5,)
    assert database.execute(BLOCKS["sql holes"]).fetchall() == [("sitea", 17, 7, 10)]
    database.close()


def test_the_loop_reads_a_cluster_and_drops_repeats(page: dict[str, Any]) -> None:
    producer = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock"})
    brokers = producer.list_topics(timeout=10).brokers.values()
    for topic, text in STORY:
        producer.produce("uns", key=topic, value=text)
    producer.flush(10)
    servers = ",".join(f"{each.host}:{each.port}" for each in brokers)

    def enough() -> bool:
        return len(page["kept"]) == 5 and len(page["told"]) == 1 and repeats() == 2

    def repeats() -> int:
        return int(sum(each.repeats for each in page["arrivals"].found()))

    page["consume"]({"bootstrap.servers": servers}, "uns", enough)

    assert repeats() == 2
