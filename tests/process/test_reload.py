"""Goal: a changed tag table takes effect, and no scan is lost, doubled or read under another table.

Method: `tailrace run` with supervisord and a simulated device that is read every 10 ms; two tables
take turns, ten times, by `tailrace reload`. Every second time the normalizer is held (SIGSTOP)
while the collector is restarted, so that scans of both tables wait in one outbox and arrive
together. The device counts its scans, so what is missing or doubled shows by itself; a tag that
is scaled by 1 in one table and by 2 in the other shows the table it was read under.

What it cannot show: a reload while power is lost, and files that are edited while they are read.

Seen to bite: scans normalised under the newest plan instead of their own. A counter that begins
anew from what was last committed instead of what was last read, when both plans arrive together.
"""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.outbox import Outbox
from common.queue import QueueReader
from common.queue.verifying import verify
from common.records import GapRecord, Quality, Record, is_repeated
from tests.process.test_console import Gateway, a_gateway

pytestmark = [pytest.mark.process, pytest.mark.timeout(280)]

S = 1_000_000_000
RELOADS = 10
PLANT = """
[gateway]
id = "sitea-line1"
root = "Acme/SiteA/Stamping/Line1"
clock = "trust"
{queue}
[devices.press]
protocol = "simulated"
asset = "Press"
[devices.press.groups.fast]
period_ms = 10
tags = "tags/press.csv"
[devices.meter]
protocol = "modbus"
host = "127.0.0.1"
port = 9
[devices.meter.groups.power]
tags = [{{ name = "Power_kW", address = "holding:0:FLOAT32" }}]
"""
ROW = "name,address,unit,scale,counter,expression\n"
KEPT = 'Strokes,counter,1,,resets,\nIn_1s,,,,,"count(Strokes, 1)"\n'
TABLES = [
    ROW + KEPT + "Which,constant:10,,1,,\nOnly_A,sine,,,,\n",
    ROW + KEPT + "Only_B,sine,,,,\nWhich,constant:10,,2,,\n",
]


@pytest.fixture
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Return a running gateway whose press is read every 10 ms under the first table."""
    for each in a_gateway(tmp_path_factory.mktemp("g")):
        configure(each)
        (each.folder / "config/ot/tags").mkdir()
        use(each, TABLES[0])
        each.start()
        each.wait(each.all_run)
        yield each


def configure(gateway: Gateway, queue: str = "") -> None:
    (gateway.folder / "config/ot/plant.toml").write_text(PLANT.format(queue=queue))


def use(gateway: Gateway, table: str) -> None:
    (gateway.folder / "config/ot/tags/press.csv").write_text(table)


def pids(gateway: Gateway) -> dict[str, int]:
    return {each["name"]: each["pid"] for each in gateway.status()["processes"]}


def records_of(gateway: Gateway, at_least: int = 0) -> list[Record]:
    """Return every record of the queue; nothing is trimmed, since no target ever takes any."""
    reader = QueueReader.open(gateway.folder / "data/queue")
    until_s = time.monotonic() + 30
    while reader.last_sequence() < at_least:
        assert time.monotonic() < until_s, "values are committed"
        time.sleep(0.05)
    found: list[Record] = []
    last = reader.last_sequence()
    while not found or found[-1].sequence < last:
        for each in reader.read(after=found[-1].sequence if found else 0):
            assert not isinstance(each, GapRecord), f"nothing is missing: {each}"
            found.append(each)
    reader.close()
    return [each for each in found if each.plan.device == "press"]


def told(record: Record) -> dict[str, tuple[Any, int]]:
    """Return name → value and quality of one record."""
    indexes = record.indexes if record.indexes is not None else range(len(record.values))
    codes = record.qualities or [0] * len(record.values)
    columns = record.plan.columns
    return {
        columns[i].name: (value, code)
        for i, value, code in zip(indexes, record.values, codes, strict=True)
    }


def last_sequence(gateway: Gateway) -> int:
    reader = QueueReader.open(gateway.folder / "data/queue")
    try:
        return reader.last_sequence()
    finally:
        reader.close()


def test_ten_reloads_under_load_lose_nothing_double_nothing_and_mix_nothing(
    gateway: Gateway,
) -> None:
    others = {name: pid for name, pid in pids(gateway).items() if name != "collector-simulated"}
    for turn in range(1, RELOADS + 1):
        records_of(gateway, at_least=last_sequence(gateway) + 50)
        use(gateway, TABLES[turn % 2])
        held = others["normalizer"] if turn % 2 else 0
        if held:
            os.kill(held, signal.SIGSTOP)
        try:
            done = gateway.tailrace("reload")
        finally:
            if held:
                os.kill(held, signal.SIGCONT)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "collector-simulated: started anew" in done.stdout
    records_of(gateway, at_least=last_sequence(gateway) + 50)
    after = pids(gateway)
    gateway.stop()

    assert {name: after[name] for name in others} == others, "nobody else was started anew"
    scans = [each for each in records_of(gateway) if "Strokes" in told(each)]
    assert_each_scan_once(gateway, scans)
    assert_none_mixed(scans)
    assert_counted_once(scans)
    assert_windows_are_honest(gateway, scans)
    assert_books_balance(gateway)


def assert_each_scan_once(gateway: Gateway, scans: list[Record]) -> None:
    raw = [told(each)["Strokes"][0] for each in scans]
    begins = [place for place, value in enumerate(raw) if value == 1]
    assert len(begins) == RELOADS + 1, "each collector counted from 1 on"
    for begin, end in zip(begins, [*begins[1:], len(raw)], strict=True):
        assert raw[begin:end] == list(range(1, end - begin + 1)), "each scan once, in order"
        assert len({each.plan.fingerprint for each in scans[begin:end]}) == 1, "one table"
    outbox = Outbox.open(gateway.folder / "run/outbox", "collector-simulated")
    counts = outbox.counts_of("press", "fast")
    depth = outbox.depth
    outbox.close()
    assert depth == 0, "all was handed over"
    assert counts is not None
    assert counts[0] == len(scans), "what was read is what is in the queue"


def assert_none_mixed(scans: list[Record]) -> None:
    seen = set()
    for each in scans:
        names = {column.name for column in each.plan.columns}
        doubled = "Only_B" in names
        values = told(each)
        seen.add(doubled)
        assert ("Only_A" in names) is not doubled
        if "Which" in values:
            assert values["Which"] == (20.0 if doubled else 10, Quality.GOOD), "of its own table"
    assert seen == {False, True}


def assert_counted_once(scans: list[Record]) -> None:
    """The device's counter begins anew with its collector: Uncertain then, and counted on."""
    totals = [told(each)["Strokes/total"] for each in scans]
    deltas = [told(each).get("Strokes/delta", (0, 0))[0] for each in scans]
    raw = [told(each)["Strokes"][0] for each in scans]
    assert [value for value, _ in totals] == list(range(len(scans))), "no jump, no repetition"
    assert sum(deltas) == len(scans) - 1
    for place, (_, code) in enumerate(totals):
        reset = place > 0 and raw[place] == 1
        assert code == (Quality.UNCERTAIN if reset else Quality.GOOD)


def assert_windows_are_honest(gateway: Gateway, scans: list[Record]) -> None:
    """A Good one has seen every scan of its second; one that a reload has cut is not Good."""
    windows = [
        (each.read_at_ns, *values["In_1s"])
        for each in records_of(gateway)
        if "In_1s" in (values := told(each))
    ]
    cut = {each.read_at_ns // S for each in scans if told(each)["Strokes"][0] == 1}
    good = 0
    for end_at_ns, value, code in windows:
        assert not is_repeated(code)
        inside = sum(end_at_ns - S <= each.read_at_ns < end_at_ns for each in scans)
        if code == Quality.GOOD:
            good += 1
            # Read times are kept to the microsecond; one scan may lie on the border.
            assert abs(value - inside) <= 1
            assert end_at_ns // S - 1 not in cut, "this one was cut"
    assert good > 0, "between the reloads there are whole seconds"
    assert any(code == Quality.UNCERTAIN for _, _, code in windows)


def assert_books_balance(gateway: Gateway) -> None:
    reader = QueueReader.open(gateway.folder / "data/queue")
    found, ledger = verify(reader), reader.ledger(0)
    reader.close()
    assert found.sound, f"{found.damaged} {found.differences}"
    assert ledger.total.unexplained == 0
    assert ledger.total.lost == {}


def test_a_wrong_table_changes_nothing_and_says_why(gateway: Gateway) -> None:
    before = pids(gateway)
    use(gateway, TABLES[1].replace("constant:10", "konstant:10"))

    refused = gateway.tailrace("reload")

    assert refused.returncode == 1
    assert "ot/tags/press.csv:5" in refused.stderr
    assert "Nothing was changed: the gateway runs as before." in refused.stderr
    assert pids(gateway) == before


def test_what_would_change_is_shown_and_exactly_that_is_started_anew(gateway: Gateway) -> None:
    before = pids(gateway)
    nothing = gateway.tailrace("reload")
    use(gateway, TABLES[1])
    configure(gateway, '[queue]\nwhen_full = "thin"\n')

    dry = gateway.tailrace("reload", "--dry-run")
    between = pids(gateway)
    done = json.loads(gateway.tailrace("reload", "--json").stdout)
    after = pids(gateway)
    again = gateway.tailrace("reload")

    assert nothing.stdout == "Nothing to do: every process runs under what the files say.\n"
    assert "press: 1 tag came, 1 tag went, 1 tag changed" in dry.stdout
    assert "+ press/fast  Only_B\n" in dry.stdout
    assert "- press/fast  Only_A\n" in dry.stdout
    assert "~ press/fast  Which: value_type int64 → float64, scale 1 → 2" in dry.stdout
    assert "normalizer\n  [queue] changed" in dry.stdout
    assert between == before, "a dry run changes nothing"
    outcomes = {each["process"]: each["outcome"] for each in done["changes"]}
    assert outcomes == {"collector-simulated": "started anew", "normalizer": "started anew"}
    assert {name for name in before if before[name] != after[name]} == outcomes.keys()
    assert gateway.status()["queue"]["when_full"] == "thin"
    assert again.stdout == nothing.stdout


def test_a_collector_that_failed_for_a_wrong_table_is_started_once_it_is_corrected(
    gateway: Gateway,
) -> None:
    """The table is as it was before, so that no difference shows who is concerned."""
    use(gateway, TABLES[0].replace("constant:10", "konstant:10"))
    os.kill(pids(gateway)["collector-simulated"], signal.SIGTERM)
    gateway.wait(lambda: gateway.process("collector-simulated")["state"] == "failing")
    use(gateway, TABLES[0])

    done = gateway.tailrace("reload")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "collector-simulated: started anew" in done.stdout
    assert gateway.process("collector-simulated")["state"] in ("running", "starting")


def test_where_nothing_runs_there_is_nothing_to_reload(tmp_path: Path) -> None:
    for gateway in a_gateway(tmp_path):
        done = gateway.tailrace("reload")

        assert done.returncode == 3
        assert "Start it: tailrace run" in done.stderr
