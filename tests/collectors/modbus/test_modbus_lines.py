"""Goal: units that share a line are read in fair turns, and a dead one costs the others little.

Method: the real collectors, kept read by the house's runner, against peers on TCP and on a pty that
do what the test says; register n of unit u holds 1000 * u + n.
"""

import asyncio
import logging
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from collectors import runner
from collectors.modbus import line as line_module
from common.clock import monotonic_s
from tests.collectors.modbus.modbus_peers import (
    Asked,
    Peer,
    collectors_of,
    device_text,
    honest,
    reading,
    serial_peer,
    silent,
    tcp_peer,
)

TRANSPORTS = [("tcp", "mbap"), ("rtu-over-tcp", "rtu"), ("ascii-over-tcp", "ascii")]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outages of a test are short, so the waits between attempts are."""
    monkeypatch.setattr(runner, "FIRST_DELAY_S", 0.05)
    monkeypatch.setattr(runner, "MOST_DELAY_S", 0.2)


def edges(caplog: pytest.LogCaptureFixture) -> Counter[tuple[str, str]]:
    """How often the log said of each device that it is away, and that it is back."""
    return Counter(
        (record.fields["device"], record.getMessage().rpartition(" ")[2])  # type: ignore[attr-defined]
        for record in caplog.records
        if record.name == "collectors.runner"
    )


def on(
    port: int, unit: int, transport: str = "tcp", keys: str = "", timeout_ms: int = 2_000
) -> str:
    return (
        f'transport = "{transport}"\nhost = "127.0.0.1"\nport = {port}\nunit = {unit}\n'
        f"reply_timeout_ms = {timeout_ms}\n{keys}"
    )


@pytest.mark.parametrize(("transport", "framing"), TRANSPORTS)
async def test_devices_with_the_same_host_and_port_share_one_connection_one_request_at_a_time(
    tmp_path: Path, transport: str, framing: str
) -> None:
    """Seen to bite: with the key of a line made unique for each device, four connections."""
    answered, most = 0, 0

    async def count_in_flight(asked: Asked) -> None:
        nonlocal answered, most
        await asyncio.sleep(0.005)
        most = max(most, len(peer.asked) - answered)
        answered += 1
        asked.answer()

    async with tcp_peer(count_in_flight, framing) as peer:
        built = collectors_of(
            tmp_path,
            *(device_text(f"u{u}", on(peer.port, u, transport), (u, 9)) for u in range(1, 5)),
        )
        async with reading(built) as plant:
            for unit in range(1, 5):
                await plant.for_scans(f"u{unit}", 5)
        await plant.until(lambda: peer.open_connections == 0)

    assert peer.connections == 1
    assert most == 1, "one request in flight"
    for unit in range(1, 5):
        assert plant.values(f"u{unit}") == {(1000 * unit + unit, 1000 * unit + 9)}


async def test_share_false_gives_a_device_a_connection_of_its_own(tmp_path: Path) -> None:
    async with tcp_peer(honest) as peer:
        built = collectors_of(
            tmp_path,
            *(device_text(f"u{u}", on(peer.port, u, keys="share = false")) for u in (1, 2)),
            *(device_text(f"u{u}", on(peer.port, u)) for u in (3, 4)),
        )
        async with reading(built) as plant:
            for unit in range(1, 5):
                await plant.for_scans(f"u{unit}", 1)

            assert peer.connections == 3


async def test_a_unit_with_many_reads_does_not_starve_one_with_a_single_read(
    tmp_path: Path,
) -> None:
    """Both want the line all the time; turns alternate between the units, not between scans."""

    async def slowly(asked: Asked) -> None:
        await asyncio.sleep(0.012)  # longer than the period: it is always time for another one
        asked.answer()

    async with tcp_peer(slowly) as peer:
        many = range(0, 2_000, 200)  # ten requests a scan: too far apart to be merged
        built = collectors_of(
            tmp_path,
            device_text("many", on(peer.port, 1), many, period_ms=10),
            device_text("single", on(peer.port, 2), (7,), period_ms=10),
        )
        async with reading(built) as plant:
            await plant.for_scans("single", 30)

    units = [asked.unit for asked in peer.asked]
    both = units[units.index(2) : len(units) - units[::-1].index(2)]
    gaps = "".join(map(str, both)).split("2")
    assert max(map(len, gaps)) <= 2, "never more than a turn or two of the other between two"


@pytest.mark.parametrize("transport", ["tcp", "rtu-over-tcp", "rtu"])
async def test_a_dead_unit_does_not_delay_the_others_and_is_back_when_it_answers(
    tmp_path: Path,
    transport: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Unit 9 never answers at first; units 1 to 3 have a period of 100 ms, a reply takes 2 ms.

    Beside them is a line of the same kind without unit 9: what it loses, the machine takes.

    Seen to bite: with the whole reply timeout for every probe and no share, 42 scans in 9.8 s.
    """
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(runner, "MOST_DELAY_S", 0.05)  # it is tried as often as it can be
    dead = {9}

    async def gateway(asked: Asked) -> None:
        await asyncio.sleep(0.002)
        if asked.unit not in dead:
            asked.answer()

    async with AsyncExitStack() as stack:

        async def line_of(units: tuple[int, ...], folder: str) -> tuple[Peer, dict[int, str]]:
            timeouts = {unit: 500 if unit == 9 else 2_000 for unit in units}
            if transport == "rtu":
                (tmp_path / folder).mkdir()
                serving = serial_peer(gateway, tmp_path / folder)
                peer, _ = await stack.enter_async_context(serving)
                return peer, {u: on_port(peer.path, u, timeout_ms=timeouts[u]) for u in units}
            framing = "rtu" if "rtu" in transport else "mbap"
            peer = await stack.enter_async_context(tcp_peer(gateway, framing))
            return peer, {u: on(peer.port, u, transport, timeout_ms=timeouts[u]) for u in units}

        peer, keys = await line_of((1, 2, 3, 9), "one")
        _, undisturbed = await line_of((1, 2, 3), "other")
        built = collectors_of(
            tmp_path,
            *(device_text(f"u{u}", text, (u,), 100) for u, text in keys.items()),
            *(device_text(f"r{u}", text, (u,), 100) for u, text in undisturbed.items()),
        )
        plant = await stack.enter_async_context(reading(built))
        names = [f"{line}{unit}" for line in "ur" for unit in (1, 2, 3)]
        await plant.until(lambda: plant.state("u9") == "away")
        for name in names:
            await plant.for_scans(name, 2)
        before = {name: plant.good(name) for name in names}
        await plant.for_scans("r2", 60)
        scans = {name: plant.good(name) - before[name] for name in names}
        for unit in (1, 2, 3):
            assert scans[f"u{unit}"] >= 0.9 * scans[f"r{unit}"] - 1, scans
        assert plant.state("u9") == "away"
        dead.clear()
        await plant.for_scans("u9", 5)
        assert peer.connections <= 2, "a unit that does not answer closes nobody's connection"

    assert edges(caplog) == {("u9", "away"): 1, ("u9", "back"): 1}, "the others never noticed"
    assert plant.values("u9") == {(9009,)}


def on_port(
    path: str, unit: int, transport: str = "rtu", baudrate: int = 115_200, timeout_ms: int = 2_000
) -> str:
    return (
        f'transport = "{transport}"\nserial = "{path}"\nunit = {unit}\nparity = "N"\n'
        # A pty refuses seven bits, as it refuses parity.
        f"bytesize = 8\nbaudrate = {baudrate}\nreply_timeout_ms = {timeout_ms}"
    )


@pytest.mark.parametrize("answers", [True, False])
async def test_a_gateway_that_waits_for_an_absent_unit_is_rarely_made_to(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    answers: bool,  # noqa: FBT001 - pytest's parameter
) -> None:
    """It says exception 11 after 1.2 s of its own, or nothing, and serves nobody meanwhile.

    The share is a fifth here, so that the absent unit is asked several times in the test.

    Seen to bite: with exception 11 as a quality it is waited for in every scan; without the grace
    the others are away when it says nothing.
    """
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(runner, "MOST_DELAY_S", 0.05)
    monkeypatch.setattr(line_module, "PROBE_SHARE", 0.2)
    dead = {9}

    async def gateway(asked: Asked) -> None:
        if asked.unit not in dead:
            asked.answer()
            return
        await asyncio.sleep(1.2)
        if answers:
            asked.refuse(11)

    async with tcp_peer(gateway) as peer, tcp_peer(honest) as undisturbed:
        timeouts = {1: 1_000, 2: 1_000, 9: 1_500}
        built = collectors_of(
            tmp_path,
            *(
                device_text(f"u{u}", on(peer.port, u, timeout_ms=timeouts[u]), (u,))
                for u in timeouts
            ),
            device_text("r", on(undisturbed.port, 1)),
        )
        async with reading(built) as plant:
            await plant.until(lambda: plant.state("u9") == "away")
            await plant.for_scans("u1", 3)
            asked = sum(each.unit == 9 for each in peer.asked)
            before = {name: plant.good(name) for name in ("u2", "r")}
            await plant.until(lambda: sum(each.unit == 9 for each in peer.asked) >= asked + 2)
            await plant.for_scans("u1", 20)
            scans = {name: plant.good(name) - count for name, count in before.items()}
            assert scans["u2"] >= 0.6 * scans["r"], scans
            dead.clear()
            await plant.for_scans("u9", 3)

    assert edges(caplog) == {("u9", "away"): 1, ("u9", "back"): 1}


async def test_all_probes_together_get_a_bounded_share_of_the_line(tmp_path: Path) -> None:
    """Ten units never answer; what the line is kept for by them is added up.

    Seen to bite: without the wait for the share, 11.5 s of 11.5 s.
    """
    waited_s: list[float] = []
    asked_at_s: list[tuple[int, float]] = []

    async def gateway(asked: Asked) -> None:
        now_s = monotonic_s()
        if asked_at_s and asked_at_s[-1][0] > 1:
            waited_s.append(now_s - asked_at_s[-1][1])
        asked_at_s.append((asked.unit, now_s))
        if asked.unit == 1:
            asked.answer()

    async with tcp_peer(gateway) as peer:
        built = collectors_of(
            tmp_path,
            device_text("good", on(peer.port, 1), period_ms=20),
            *(device_text(f"dead{u}", on(peer.port, u, timeout_ms=300)) for u in range(2, 12)),
        )
        async with reading(built) as plant:
            await plant.until(lambda: all(plant.state(f"dead{u}") == "away" for u in range(2, 12)))
            await plant.for_scans("good", 20)
            waited_s.clear()
            began_s = monotonic_s()
            await plant.for_scans("good", 200)
            window_s = monotonic_s() - began_s

    assert len({unit for unit, _ in asked_at_s}) == 11, "each has its turn"
    # A whole timeout may begin just before the window and be paid for in it.
    assert sum(waited_s) <= 2 * line_module.PROBE_SHARE * window_s + 0.5


async def test_a_unit_that_was_slow_to_begin_with_is_found_by_longer_probes(
    tmp_path: Path,
) -> None:
    """Unit 2 goes away, and comes back so slow that a usual probe misses it.

    Seen to bite: with all probes of one length it is never found.
    """
    slow_s = 0.0
    away = False

    async def gateway(asked: Asked) -> None:
        if asked.unit == 2:
            await asyncio.sleep(slow_s)
            if away:
                return
        asked.answer()

    async with tcp_peer(gateway) as peer:
        built = collectors_of(
            tmp_path,
            *(device_text(f"u{u}", on(peer.port, u, timeout_ms=500), (u,)) for u in (1, 2)),
        )
        async with reading(built) as plant:
            await plant.for_scans("u2", 5)
            away = True
            await plant.until(lambda: plant.state("u2") == "away")
            away, slow_s = False, 0.3
            await plant.for_scans("u2", 1, 60)


@pytest.mark.parametrize(("transport", "framing"), TRANSPORTS)
async def test_a_whole_line_that_dies_is_one_outage_for_each_device_and_all_are_back_together(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, transport: str, framing: str
) -> None:
    """Five units behind a gateway that goes away, comes back silent, then answers.

    Seen to bite: with an attempt for each device, up to 3 connections at once while it was silent;
    with a device told of every attempt, they are not back.
    """
    caplog.set_level(logging.INFO)
    names = [f"u{unit}" for unit in range(1, 6)]
    async with tcp_peer(honest, framing) as peer:
        port = peer.port
        built = collectors_of(
            tmp_path,
            *(
                device_text(f"u{u}", on(port, u, transport, timeout_ms=1_000), (u,))
                for u in range(1, 6)
            ),
        )
        # A device whose own back-off is long waits for the line, and not for that.
        context = reading(built, lambda: iter([0.05, 0.05, *[3_600.0] * 9]))
        plant = await context.__aenter__()
        for name in names:
            await plant.for_scans(name, 2)
    try:
        await plant.until(lambda: all(plant.state(name) == "away" for name in names))
        # Long enough for several attempts, at waits of 0.05 to 0.2 s.
        enough_s = monotonic_s() + 1
        await plant.until(lambda: monotonic_s() > enough_s)
        async with tcp_peer(silent, framing, port) as peer:
            await plant.until(lambda: len({asked.unit for asked in peer.asked}) >= 2)
            assert peer.open_connections <= 1
            peer.behave = honest
            for name in names:
                await plant.for_scans(name, 2)
            assert peer.open_connections == 1
    finally:
        await context.__aexit__(None, None, None)

    assert {edges(caplog)[name, "back"] for name in names} == {1}
    assert edges(caplog)[names[0], "away"] <= 2, "the end of the test is an outage too"
    for unit, name in enumerate(names, 1):
        assert plant.values(name) == {(1000 * unit + unit,)}


async def test_units_that_fall_silent_one_after_the_other_are_a_line_that_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A frozen gateway: eight units are away after three timeouts, not after eight.

    Seen to bite: with SILENT_MOST = 100 each unit waits out its own timeout.
    """
    caplog.set_level(logging.INFO)
    async with tcp_peer(honest) as peer:
        built = collectors_of(
            tmp_path,
            *(device_text(f"u{u}", on(peer.port, u, timeout_ms=1_000), (u,)) for u in range(1, 9)),
        )
        async with reading(built) as plant:
            for unit in range(1, 9):
                await plant.for_scans(f"u{unit}", 1)
            peer.behave = silent
            peer.asked.clear()
            await plant.until(
                lambda: sum(plant.state(f"u{unit}") == "away" for unit in range(1, 9)) == 8
            )
            first = [asked.unit for asked in peer.asked]
            peer.behave = honest
            for unit in range(1, 9):
                await plant.for_scans(f"u{unit}", 1)

    assert len(first) <= 5
    assert set(edges(caplog).values()) == {1}, "one line for each outage, one for each return"
    assert "3 units in a row did not answer" in caplog.text or any(
        "3 units in a row" in str(record.fields.get("error")) for record in caplog.records
    )


async def test_the_line_is_left_alone_for_the_pause_before_each_request(tmp_path: Path) -> None:
    """Seen to bite: with the pause left out of `rest`, 0.1 ms between reply and request."""
    ended_s: list[float] = []
    pauses_s: list[float] = []

    async def note(asked: Asked) -> None:
        if ended_s and asked.unit == 1:
            pauses_s.append(monotonic_s() - ended_s[-1])
        asked.answer()
        ended_s.append(monotonic_s())

    async with tcp_peer(note) as peer:
        built = collectors_of(
            tmp_path,
            device_text("u1", on(peer.port, 1, keys="pause_ms = 30"), (0, 500), period_ms=10),
            device_text("u2", on(peer.port, 2), period_ms=10),
        )
        async with reading(built) as plant:
            await plant.for_scans("u1", 5)

    assert len(pauses_s) >= 8
    assert min(pauses_s) >= 0.0295


async def test_a_serial_line_is_silent_for_three_and_a_half_characters_between_frames(
    tmp_path: Path,
) -> None:
    """At 1,200 baud, 8N1: 3.5 * 10 / 1200 = 29 ms."""
    ended_s: list[float] = []
    silences_s: list[float] = []

    async def note(asked: Asked) -> None:
        if ended_s:
            silences_s.append(monotonic_s() - ended_s[-1])
        asked.answer()
        ended_s.append(monotonic_s())

    async with serial_peer(note, tmp_path) as (peer, _):
        built = collectors_of(
            tmp_path,
            *(device_text(f"u{u}", on_port(peer.path, u, baudrate=1_200)) for u in (1, 2)),
        )
        async with reading(built) as plant:
            await plant.for_scans("u2", 5)

    assert min(silences_s) >= 0.029


async def test_an_unplugged_serial_line_is_one_outage_and_read_again_when_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with serial_peer(honest, tmp_path) as (peer, line):
        built = collectors_of(
            tmp_path, *(device_text(f"u{u}", on_port(peer.path, u), (u,)) for u in (1, 2, 3))
        )
        async with reading(built) as plant:
            for unit in (1, 2, 3):
                await plant.for_scans(f"u{unit}", 3)
            await line.unplug()
            await plant.until(lambda: all(plant.state(f"u{u}") == "away" for u in (1, 2, 3)))
            line.plug()
            for unit in (1, 2, 3):
                await plant.for_scans(f"u{unit}", 3)

    assert edges(caplog) == {(f"u{u}", edge): 1 for u in (1, 2, 3) for edge in ("away", "back")}
    for unit in (1, 2, 3):
        assert plant.values(f"u{unit}") == {(1000 * unit + unit,)}


@pytest.mark.parametrize("framing", ["rtu", "ascii"])
async def test_a_disturbed_frame_on_a_serial_line_is_asked_for_once_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, framing: str
) -> None:
    """Every fifth reply has one bit turned over.

    Seen to bite: without the second request the device is away at the first one.
    """
    caplog.set_level(logging.INFO)

    async def disturbed(asked: Asked) -> None:
        frame = bytearray(asked.framed(asked.truth()))
        if len(peer.asked) % 5 == 0:
            frame[-3] ^= 1
        asked.send(bytes(frame))

    async with serial_peer(disturbed, tmp_path, framing) as (peer, _):
        built = collectors_of(
            tmp_path,
            *(device_text(f"u{u}", on_port(peer.path, u, framing), (u, 500)) for u in (1, 2)),
        )
        async with reading(built) as plant:
            for unit in (1, 2):
                await plant.for_scans(f"u{unit}", 20)

    assert edges(caplog) == {}
    for unit in (1, 2):
        assert plant.values(f"u{unit}") == {(1000 * unit + unit, 1000 * unit + 500)}


async def test_a_serial_port_that_another_program_has_open_is_away_with_the_reason(
    tmp_path: Path,
) -> None:
    async with serial_peer(honest, tmp_path) as (peer, _):
        (first,) = collectors_of(tmp_path, device_text("u1", on_port(peer.path, 1)))
        async with first.connect():
            keys = on_port(peer.path, 2) + "\nstopbits = 2"  # another line, for this one process
            (second,) = collectors_of(tmp_path, device_text("u2", keys))
            with pytest.raises(Exception, match="no other program has it open"):
                async with second.connect():
                    pass


async def test_what_a_device_is_asked_is_counted_to_the_byte(tmp_path: Path) -> None:
    """12 bytes for a request on TCP; 9 + 2 for one register. On RTU 8, and 5 + 2."""
    for transport, framing, sent, received in (
        ("tcp", "mbap", 12, 11),
        ("rtu-over-tcp", "rtu", 8, 7),
        ("ascii-over-tcp", "ascii", 17, 15),
    ):
        async with tcp_peer(honest, framing) as peer:
            built = collectors_of(
                tmp_path, *(device_text(f"u{u}", on(peer.port, u, transport)) for u in (1, 2))
            )
            async with reading(built) as plant:
                await plant.for_scans("u1", 4)
                await plant.for_scans("u2", 1)
        for unit, collector in enumerate(built, 1):
            asked = sum(1 for each in peer.asked if each.unit == unit)
            detail = collector.traffic.detail()
            assert detail["requests"] == asked
            assert detail["bytes_sent"] == asked * sent
            # The last request may have been cancelled by the end of the test.
            assert (asked - 1) * received <= detail["bytes_received"] <= asked * received
            assert 0 < detail["reply_p50_s"] <= detail["reply_p95_s"] < 2
