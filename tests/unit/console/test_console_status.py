"""Goal: `tailrace status` says what each process does, never more than is known.

Method: health files as the processes write them; supervisord is absent here (tests/process has it).
"""

import os
import re
import socket
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from common.clock import now_ns
from common.health import STALE_S, Health, write_health
from common.queue import Cursor, DeadLetter
from console.status import ProcessStatus, Status, devices_of, look, process_status
from console.status_text import status_text

QUEUE = {"last_sequence": 120, "depth": 20, "bytes": 4096, "capacity_bytes": 8192}


def program(statename: str, *, up_s: int = 60, pid: int = 4242) -> dict[str, Any]:
    """Return what supervisord says of one process."""
    return {"statename": statename, "now": 1000, "start": 1000 - up_s, "pid": pid, "spawnerr": ""}


def health(state: str = "running", pid: int = 4242) -> Health:
    """Return what a process says of itself."""
    return Health(process="normalizer", pid=pid, at_ns=now_ns(), state=state)


def test_nothing_runs_where_nobody_ever_spoke(tmp_path: Path) -> None:
    seen = look(tmp_path, tmp_path)

    assert not seen.anything_runs
    assert seen.processes == []


def test_a_process_without_supervisord_is_shown_by_its_own_account(tmp_path: Path) -> None:
    write_health(tmp_path, "normalizer", "running", {"queue": QUEUE, "gaps": 1})
    told = {
        "target": "uns",
        "state": "away",
        "error": "no route",
        "acked_sequence": 100,
        "notes": ["the broker keeps no retained messages"],
    }
    write_health(tmp_path, "uplink-uns", "waiting", told)

    seen = look(tmp_path, tmp_path)

    assert seen.anything_runs
    assert not seen.supervised
    assert [(each.name, each.state) for each in seen.processes] == [
        ("normalizer", "running"),
        ("uplink-uns", "waiting"),
    ]
    assert seen.queue is not None
    assert (seen.queue.depth, seen.queue.gaps) == (20, 1)
    (uplink,) = seen.uplinks
    assert (uplink.behind, uplink.error, uplink.last_ack_age_s) == (20, "no route", None)
    assert uplink.notes == ["the broker keeps no retained messages"]
    assert seen.sick == [], "a target that is away is nobody's fault here"


def test_a_supervisord_that_hangs_does_not_hold_up_the_rest(short_path: Path) -> None:
    """It is stopped, or hangs: the kernel takes the connection in its name."""
    write_health(short_path, "normalizer", "running", {"queue": QUEUE})
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(short_path / "supervisor.sock"))
        hanging.listen()

        seen = look(short_path, short_path)

    assert not seen.supervised
    assert [each.name for each in seen.processes] == ["normalizer"]


def test_an_old_account_is_not_believed(tmp_path: Path) -> None:
    write_health(tmp_path, "normalizer", "running", {"queue": QUEUE})
    path = tmp_path / "health" / "normalizer.json"
    at_ns = now_ns()
    old = path.read_text().replace(path.read_text().split('"at_ns":')[1].split(",")[0], "1000")
    path.write_text(old)

    seen = look(tmp_path, tmp_path)

    assert at_ns > 1000 + STALE_S * 1e9
    assert not seen.anything_runs
    assert seen.queue is None


def test_an_account_in_another_shape_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    write_health(tmp_path, "collector-s7", "running", {"devices": {"press": {"state": 7}}})
    write_health(tmp_path, "normalizer", "running", {"queue": {"depth": 3}})
    write_health(tmp_path, "uplink-uns", "running", {"target": ["uns"]})

    seen = look(tmp_path, tmp_path)

    assert [each.state for each in seen.processes] == ["running"] * 3
    assert seen.queue is not None
    assert seen.queue.depth == 3


@pytest.mark.parametrize(
    ("told", "own", "speaks", "state"),
    [
        (program("RUNNING"), health("waiting"), True, "waiting"),
        (program("RUNNING"), health(), False, "silent"),
        (program("RUNNING"), None, False, "silent"),
        (program("RUNNING", up_s=2), None, False, "starting"),
        (program("RUNNING"), health(pid=1), True, "silent"),
        (program("STARTING", up_s=0), health(), True, "starting"),
        (program("BACKOFF", pid=0), health(), True, "failing"),
        (program("FATAL", pid=0), None, False, "failing"),
        (program("STOPPED", pid=0), None, False, "stopped"),
    ],
)
def test_a_process_is_at_work_only_when_it_lives_and_says_so(
    told: dict[str, Any], own: Health | None, *, speaks: bool, state: str
) -> None:
    seen = process_status("normalizer", told, own, speaks=speaks)

    assert isinstance(seen, ProcessStatus)
    assert seen.state == state


def test_the_pid_of_a_process_that_runs_alone_is_its_own(tmp_path: Path) -> None:
    write_health(tmp_path, "normalizer", "running", {})

    assert [each.pid for each in look(tmp_path, tmp_path).processes] == [os.getpid()]


def test_autonomy_policy_and_losses_are_shown(tmp_path: Path) -> None:
    """Seen to bite: a loss whose cause is known left out of the total."""
    queue = {**QUEUE, "autonomy_h": 312.5, "when_full": "thin"}
    lost = {"thinned": 1_200, "queue-full": 34, "outbox-lost": 0}
    ledger = {"collected": 5_000_000, "queued": 7, "lost": lost, "unknown_losses": 2}
    write_health(tmp_path, "normalizer", "running", {"queue": queue, "ledger": ledger})

    seen = look(tmp_path, tmp_path)
    text = "\n".join(status_text(seen))

    assert seen.queue is not None
    assert (seen.queue.autonomy_h, seen.queue.when_full) == (312.5, "thin")
    assert seen.queue.ledger is not None
    assert seen.queue.ledger.lost == lost
    assert "13 d 0 h" in text
    assert "thin" in text
    assert "lost of 5,000,000 samples: 1,234 (1,200 thinned, 34 queue-full)" in text
    assert "2 losses of unknown size" in text


def test_an_account_without_a_ledger_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    """As an older normalizer writes it, or one to which nothing came in."""
    write_health(tmp_path, "normalizer", "running", {"queue": {**QUEUE, "autonomy_h": None}})

    seen = look(tmp_path, tmp_path)
    text = "\n".join(status_text(seen))

    assert seen.queue is not None
    assert (seen.queue.autonomy_h, seen.queue.when_full, seen.queue.ledger) == (None, None, None)
    assert "lost" not in text


def test_nothing_lost_is_not_worth_a_line(tmp_path: Path) -> None:
    ledger = {"collected": 10, "delivered": 10, "lost": {}}
    write_health(tmp_path, "normalizer", "running", {"queue": QUEUE, "ledger": ledger})

    assert "lost" not in "\n".join(status_text(look(tmp_path, tmp_path)))


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"clock": "synchronised", "clock_steps": 0}, None),
        ({"clock": "unsynchronised"}, r"unsynchronised +0\s+no NTP or PTP"),
        (
            {"clock": "stepped", "clock_steps": 2, "clock_step_s": -3600.0},
            r"stepped +2, the last by -3600\.0 s\s+it was set",
        ),
        ({"clock": "unknown"}, r"unknown +0\s+this system cannot say"),
    ],
)
def test_a_clock_in_doubt_has_a_line_and_one_that_is_right_has_none(
    tmp_path: Path, told: dict[str, Any], line: str | None
) -> None:
    write_health(tmp_path, "normalizer", "running", {"queue": QUEUE, **told})

    text = "\n".join(status_text(look(tmp_path, tmp_path)))

    assert bool(re.search(line, text)) if line else "GATEWAY CLOCK" not in text


def test_the_load_on_a_device_and_its_clock_are_shown() -> None:
    """Seen to bite: with bytes_received left out of the sum the row says 10.0."""
    then = {"state": "good", "requests": 100, "bytes_sent": 1_200, "bytes_received": 5_000}
    now = {**then, "requests": 102, "bytes_sent": 1_210, "bytes_received": 5_100}
    quick = {"reply_p50_s": 0.0021, "reply_p95_s": 0.0305}
    earlier = Health(process="collector-s7", pid=1, at_ns=now_ns() - 1_000_000_000, state="running")
    later = msgspec.structs.replace(earlier, at_ns=earlier.at_ns + 1_000_000_000)
    clock = {"clock_offset_s": -1.5, "clock_doubtful": True}

    seen = devices_of(
        {"c": msgspec.structs.replace(earlier, detail={"devices": {"press": then}})},
        {"c": msgspec.structs.replace(later, detail={"devices": {"press": now | quick | clock}})},
        later.at_ns,
    )

    status = Status(supervised=True, processes=[], devices=seen, queue=None, uplinks=[])
    *_, header, row = [re.split(" {2,}", click.unstyle(each)) for each in status_text(status)]
    shown = dict(zip(header, row, strict=True))
    assert shown["REQUESTS/S"] == "2.0"
    assert shown["BYTES/S"] == "110.0"
    assert (shown["REPLY P50"], shown["P95"]) == ("2.1 ms", "30.5 ms")
    assert shown["CLOCK"] == "-1.500 s?", "behind the gateway, and in doubt"


def test_a_device_that_is_not_asked_has_no_load() -> None:
    """The simulated one, or one whose connection never stood."""
    seen = Health(process="collector-simulated", pid=1, at_ns=now_ns(), state="running")
    told = msgspec.structs.replace(seen, detail={"devices": {"toy": {"state": "good"}}})
    devices = devices_of({"c": told}, {"c": told}, told.at_ns)

    status = Status(supervised=True, processes=[], devices=devices, queue=None, uplinks=[])

    assert "LOAD" not in "\n".join(status_text(status))


def test_a_busy_plant_fits_100_columns() -> None:
    """Seen to bite: the one table of twelve columns that was there before."""
    second_ns = 1_000_000_000
    then = {"state": "good", "since_ns": 1, "last_scan_at_ns": 1, "scans": 0, "samples": 0}
    now = then | {
        "scans": 1_000,
        "samples": 1_000_000,
        "overruns": 123_456,
        "requests": 1_234,
        "bytes_sent": 123_456,
        "bytes_received": 1_234_567,
        "reply_p50_s": 0.1234,
        "reply_p95_s": 1.2345,
        "clock_offset_s": -123.456,
        "clock_doubtful": True,
    }
    first = Health(process="c", pid=1, at_ns=now_ns() - second_ns, state="running")
    later = msgspec.structs.replace(first, at_ns=first.at_ns + second_ns)
    name = "press_line_1_hydraulics"
    devices = devices_of(
        {"c": msgspec.structs.replace(first, detail={"devices": {name: then}})},
        {"c": msgspec.structs.replace(later, detail={"devices": {name: now}})},
        later.at_ns,
    )

    status = Status(supervised=True, processes=[], devices=devices, queue=None, uplinks=[])
    lines = [click.unstyle(line) for line in status_text(status)]

    assert [line.split()[0] for line in lines if line] == ["PROCESS", "DEVICE", name, "LOAD", name]
    assert max(map(len, lines)) <= 100


def test_what_was_set_aside_is_shown_by_reason_with_what_became_of_it(tmp_path: Path) -> None:
    cursor = Cursor.open(tmp_path, "uns", epoch=5)
    cursor.advance(9, [DeadLetter(n, 0, "Acme/t", b"{}", "denied", 1) for n in range(3)])
    cursor.close()
    detail = {"target": "uns", "state": "online", "set_aside": 3, "retried": 7, "retry_waiting": 2}
    write_health(tmp_path, "uplink-uns", "running", detail)

    seen = look(tmp_path, tmp_path)
    text = "\n".join(status_text(seen))

    assert seen.uplinks[0].set_aside_reasons == {"denied": 3}
    assert "set aside: 3 denied; see tailrace set-aside list" in text
    assert "published again: 7 taken, 2 wait" in text
