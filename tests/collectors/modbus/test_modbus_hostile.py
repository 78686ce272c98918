"""Goal: whatever a peer does, no wrong value is taken, no neighbour is delayed, and it comes back.

Method: one process reads many devices at once, each from a peer that misbehaves in one way, beside
an honest neighbour and a reference that asks nobody; then every peer turns honest. Processes of
pymodbus's server are stopped and continued. Register n of unit u holds 1000 * u + n.
"""

import asyncio
import logging
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from collectors import runner
from collectors.polling import poll
from common.clock import monotonic_ns
from common.records import Plan, Quality, Scan
from tests.collectors.modbus.modbus_peers import (
    Asked,
    Behaviour,
    collectors_of,
    device_text,
    honest,
    reading,
    relayed_ptys,
    serial_peer,
    silent,
    tcp_peer,
)
from tests.collectors.modbus.test_modbus_lines import edges, on, on_port

PERIOD_MS = 100
REPLY_TIMEOUT_MS = 800
LATE_S = 1.0
METER = Path(__file__).with_name("meter_process.py")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "FIRST_DELAY_S", 0.05)
    monkeypatch.setattr(runner, "MOST_DELAY_S", 0.2)


async def dies(asked: Asked) -> None:
    asked.close()


async def late(asked: Asked) -> None:
    await asyncio.sleep(LATE_S)
    asked.answer()


async def twice(asked: Asked) -> None:
    asked.send(asked.framed(asked.truth()) * 2)


async def wrong_unit(asked: Asked) -> None:
    asked.send(asked.framed(asked.truth(unit=77), unit=77))


async def wrong_function(asked: Asked) -> None:
    asked.send(asked.framed(bytes([4]) + asked.truth(unit=78)[1:]))


async def too_short(asked: Asked) -> None:
    data = asked.truth(unit=79)[2:-2]
    asked.send(asked.framed(bytes([3, len(data)]) + data))


async def too_long(asked: Asked) -> None:
    data = asked.truth(unit=79)[2:] + b"\xde\xad"
    asked.send(asked.framed(bytes([3, len(data)]) + data))


async def lying_count(asked: Asked) -> None:
    truth = asked.truth(unit=79)
    asked.send(asked.framed(bytes([3, truth[1] + 2]) + truth[2:]))


async def garbage(asked: Asked) -> None:
    asked.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def half_a_frame(asked: Asked) -> None:
    asked.send(asked.framed(asked.truth())[:-3])


async def reset_in_mid_reply(asked: Asked) -> None:
    asked.send(asked.framed(asked.truth())[:6])
    await asyncio.sleep(0.005)
    asked.close()


async def endless(asked: Asked) -> None:
    while not asked.over():
        asked.send(b"\x2a" * 1_000)
        await asyncio.sleep(0.001)


async def endless_frames(asked: Asked) -> None:
    number = asked.transaction
    while not asked.over():
        number -= 1
        asked.send(asked.framed(asked.truth(unit=79), transaction=number))
        await asyncio.sleep(0.001)


async def byte_by_byte(asked: Asked) -> None:
    for byte in asked.framed(asked.truth()):
        asked.send(bytes([byte]))
        await asyncio.sleep(0.001)


async def another_transaction_first(asked: Asked) -> None:
    asked.send(asked.framed(asked.truth(unit=79), transaction=asked.transaction - 1))
    asked.answer()


AWAY: dict[str, Behaviour] = {
    each.__name__: each
    for each in (
        dies, silent, late, wrong_unit, wrong_function, too_short, too_long, lying_count, garbage,
        half_a_frame, reset_in_mid_reply, endless,
    )
}  # fmt: skip
FRAMINGS: dict[str, tuple[str, dict[str, Behaviour], dict[str, Behaviour]]] = {
    "mbap": (
        "tcp",
        AWAY | {"endless_frames": endless_frames},
        {
            "twice": twice,
            "byte_by_byte": byte_by_byte,
            "another_transaction_first": another_transaction_first,
        },
    ),
    "rtu": ("rtu-over-tcp", AWAY | {"twice": twice}, {"byte_by_byte": byte_by_byte}),
    "ascii": ("ascii-over-tcp", AWAY | {"twice": twice}, {"byte_by_byte": byte_by_byte}),
}


@asynccontextmanager
async def ticking() -> AsyncIterator[list[Scan]]:
    """The reference: a device that answers at once, read at the same period."""
    plan = Plan("simulated", "reference", "all", "reference", PERIOD_MS, ())
    ticks: list[Scan] = []

    async def read(_group: int) -> Scan:
        return Scan(plan.fingerprint, 0, monotonic_ns(), [])

    async def tick() -> None:
        async for scan in poll([plan], read, lambda _skipped: None):
            ticks.insert(len(ticks), scan)

    task = asyncio.create_task(tick())
    try:
        yield ticks
    finally:
        task.cancel()


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_hostile_peers_give_no_wrong_value_delay_no_neighbour_and_come_back(
    tmp_path: Path, framing: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The framing's and the check's own tests show what each of them is for.

    Seen to bite: without the check of function and length.
    """
    caplog.set_level(logging.INFO)
    transport, away, good = FRAMINGS[framing]
    async with AsyncExitStack() as stack:
        peers = {
            name: await stack.enter_async_context(tcp_peer(behave, framing))
            for name, behave in ({"neighbour": honest} | away | good).items()
        }
        built = collectors_of(
            tmp_path,
            *(
                device_text(
                    name,
                    on(
                        peer.port,
                        5,
                        transport,
                        timeout_ms=REPLY_TIMEOUT_MS if name in away else 2_000,
                    ),
                    (1, 2, 500, 501),
                    PERIOD_MS,
                )
                for name, peer in peers.items()
            ),
        )
        plant = await stack.enter_async_context(reading(built))
        ticks = await stack.enter_async_context(ticking())
        await plant.until(lambda: all(plant.state(name) == "away" for name in away))
        before, ticks_before = plant.good("neighbour"), len(ticks)
        await plant.for_scans("neighbour", 40)
        scans, reference = plant.good("neighbour") - before, len(ticks) - ticks_before
        assert scans >= 0.9 * reference - 2, "the neighbour kept its period"
        assert {name for name in away if plant.good(name)} == set()
        for name in good:
            assert plant.good(name) > 10, name

        for peer in peers.values():
            peer.behave = honest
        for name in peers:
            await plant.for_scans(name, 5)
        for name in peers:
            assert plant.values(name) == {(5001, 5002, 5500, 5501)}, name

    assert edges(caplog) == {(name, edge): 1 for name in away for edge in ("away", "back")}


@pytest.mark.parametrize("code", [*range(1, 10), 99])
async def test_an_exception_on_a_serial_frame_is_a_quality(tmp_path: Path, code: int) -> None:
    async def refuse(asked: Asked) -> None:
        asked.refuse(code)

    async with tcp_peer(refuse, "rtu") as peer:
        built = collectors_of(tmp_path, device_text("d", on(peer.port, 5, "rtu-over-tcp"), (1,)))
        async with reading(built) as plant:
            await plant.until(lambda: len(plant.scans["d"]) >= 3)
            assert plant.state("d") == "good"

    expected = {
        1: Quality.BAD_CONFIGURATION_ERROR,
        2: Quality.BAD_OUT_OF_RANGE,
        3: Quality.BAD_OUT_OF_RANGE,
    }.get(code, Quality.BAD_DEVICE_FAILURE)
    assert [scan.qualities for scan in plant.scans["d"][:3]] == [[expected]] * 3


@pytest.mark.parametrize("medium", ["rtu-over-tcp", "rtu", "ascii"])
@pytest.mark.parametrize("alone", [True, False])
async def test_a_late_reply_is_never_taken_for_that_of_the_next_request(
    tmp_path: Path,
    medium: str,
    alone: bool,  # noqa: FBT001 - pytest's parameter
) -> None:
    """Two reads of one register each; some replies of unit 5 come one, two or five timeouts late.

    Seen to bite: without the fence, (5500, 5001) among the values.
    """
    chance = random.Random(4)
    delayed = 0

    async def some_late(asked: Asked) -> None:
        nonlocal delayed
        if asked.unit == 5 and chance.random() < 0.15:
            delayed += 1
            await asyncio.sleep(chance.choice((0.06, 0.12, 0.3)))
        asked.answer()

    async def story(keys: dict[int, str]) -> None:
        units = (5,) if alone else (5, 6)
        built = collectors_of(
            tmp_path,
            *(
                device_text(
                    f"u{u}",
                    keys[u].replace("reply_timeout_ms = 2000", "reply_timeout_ms = 50"),
                    (1, 500),
                    20,
                )
                for u in units
            ),
        )
        async with reading(built) as plant:
            await plant.until(lambda: delayed >= 20 and plant.good("u5") >= 30, 90)
        for unit in units:
            assert plant.values(f"u{unit}") == {(1000 * unit + 1, 1000 * unit + 500)}

    if medium == "rtu-over-tcp":
        async with tcp_peer(some_late, "rtu") as peer:
            await story({u: on(peer.port, u, medium) for u in (5, 6)})
    else:
        async with serial_peer(some_late, tmp_path, medium) as (peer, _):
            await story({u: on_port(peer.path, u, medium) for u in (5, 6)})


@asynccontextmanager
async def meter(transport: str, path: str = "") -> AsyncIterator[tuple[subprocess.Popen[str], int]]:
    """Run pymodbus's server in a process of its own."""
    command = [sys.executable, str(METER), transport, *([path] if path else [])]
    process = await asyncio.to_thread(subprocess.Popen, command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        line = await asyncio.to_thread(process.stdout.readline)
        yield process, int(line)
    finally:
        process.kill()
        process.send_signal(signal.SIGCONT)
        await asyncio.to_thread(process.wait)
        process.stdout.close()


@pytest.mark.process
@pytest.mark.parametrize("transport", ["tcp", "udp", "rtu-over-tcp", "ascii-over-tcp", "rtu"])
async def test_a_server_that_is_stopped_and_continued_is_one_outage_and_gives_no_wrong_value(
    tmp_path: Path, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    """On RTU a continued process answers everything that it was asked meanwhile, at once."""
    caplog.set_level(logging.INFO)
    async with AsyncExitStack() as stack:
        neighbour = await stack.enter_async_context(tcp_peer(honest))
        if transport == "rtu":
            theirs, ours = await stack.enter_async_context(relayed_ptys())
            process, _ = await stack.enter_async_context(meter(transport, theirs))
            keys = {u: on_port(ours, u) for u in (1, 2)}
        else:
            process, port = await stack.enter_async_context(meter(transport))
            keys = {u: on(port, u, transport) for u in (1, 2)}
        built = collectors_of(
            tmp_path,
            *(
                device_text(
                    f"u{u}",
                    text.replace("timeout_ms = 2000", "timeout_ms = 1500"),
                    (1, 500),
                    20,
                )
                for u, text in keys.items()
            ),
            device_text("neighbour", on(neighbour.port, 5), period_ms=PERIOD_MS),
        )
        plant = await stack.enter_async_context(reading(built))
        ticks = await stack.enter_async_context(ticking())
        for unit in (1, 2):
            await plant.for_scans(f"u{unit}", 5)
        before, ticks_before = plant.good("neighbour"), len(ticks)
        process.send_signal(signal.SIGSTOP)
        await plant.until(lambda: all(plant.state(f"u{unit}") == "away" for unit in (1, 2)))
        await plant.for_scans("neighbour", 40)
        scans, reference = plant.good("neighbour") - before, len(ticks) - ticks_before
        process.send_signal(signal.SIGCONT)
        for unit in (1, 2):
            await plant.for_scans(f"u{unit}", 20)

    assert scans >= 0.9 * reference - 2, "the neighbour kept its period"
    for unit in (1, 2):
        assert plant.values(f"u{unit}") == {(1000 * unit + 1, 1000 * unit + 500)}
    assert edges(caplog) == Counter(
        {(f"u{unit}", edge): 1 for unit in (1, 2) for edge in ("away", "back")}
    )
