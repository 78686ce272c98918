"""Goal: each transport reads a real server, and TLS talks to nobody whom it cannot name.

Method: pymodbus's servers, which share no code with our framing, over TCP, UDP, TLS, serial frames
over TCP, and RTU and ASCII on two ptys joined by a cable.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pymodbus.framer import FramerType
from pymodbus.server import (
    ModbusSerialServer,
    ModbusTcpServer,
    ModbusTlsServer,
    ModbusUdpServer,
)
from pymodbus.simulator import DataType, SimData, SimDevice

from common.errors import SourceUnavailable
from demo.pki import Authority, Pki, make_pki
from tests.collectors.modbus.modbus_peers import (
    collectors_of,
    device_text,
    reading,
    relayed_ptys,
)
from tests.collectors.modbus.test_modbus_lines import on, on_port

PLACE = ("127.0.0.1", 0)


def devices() -> list[SimDevice]:
    def registers(unit: int) -> SimData:
        values = [1000 * unit + number for number in range(200)]
        return SimData(0, values=values, datatype=DataType.REGISTERS)

    return [SimDevice(unit, simdata=[registers(unit)]) for unit in (1, 2, 17)]


@asynccontextmanager
async def running(server: Any) -> AsyncIterator[int]:
    await server.serve_forever(background=True)
    transport = server.transport
    try:
        if isinstance(server, ModbusSerialServer):
            yield 0
        elif isinstance(server, ModbusUdpServer):
            yield transport.get_extra_info("sockname")[1]
        else:
            yield transport.sockets[0].getsockname()[1]
    finally:
        await server.shutdown()


async def read_units(tmp_path: Path, keys: dict[int, str]) -> None:
    """Read the longest request there is, and a short one, of every unit."""
    built = collectors_of(
        tmp_path, *(device_text(f"u{u}", text, (*range(125), 199)) for u, text in keys.items())
    )
    async with reading(built) as plant:
        for unit in keys:
            await plant.for_scans(f"u{unit}", 3)
    for unit in keys:
        expected = [1000 * unit + number for number in (*range(125), 199)]
        assert plant.values(f"u{unit}") == {tuple(expected)}


@pytest.mark.parametrize(
    ("transport", "server"),
    [
        ("tcp", lambda: ModbusTcpServer(devices(), address=PLACE)),
        ("udp", lambda: ModbusUdpServer(devices(), address=PLACE)),
        ("rtu-over-tcp", lambda: ModbusTcpServer(devices(), framer=FramerType.RTU, address=PLACE)),
        (
            "ascii-over-tcp",
            lambda: ModbusTcpServer(devices(), framer=FramerType.ASCII, address=PLACE),
        ),
    ],
)
async def test_units_are_read_over_the_network(tmp_path: Path, transport: str, server: Any) -> None:
    async with running(server()) as port:
        await read_units(tmp_path, {u: on(port, u, transport) for u in (1, 2)})


@pytest.mark.parametrize("transport", ["rtu", "ascii"])
async def test_units_are_read_over_a_serial_line(tmp_path: Path, transport: str) -> None:
    framer = FramerType.RTU if transport == "rtu" else FramerType.ASCII
    async with relayed_ptys() as (theirs, ours):
        server = ModbusSerialServer(devices(), framer=framer, port=theirs, baudrate=115_200)
        async with running(server):
            await read_units(tmp_path, {u: on_port(ours, u, transport) for u in (1, 2, 17)})


def server_context(pki: Pki, *, most: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A device that wants to see a certificate of its own authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server.cert_file, pki.server.key_file)
    context.load_verify_locations(pki.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    if most:
        context.maximum_version = most
    return context


def over_tls(port: int, **files: Path | str) -> str:
    keys = "".join(f'{key} = "{value}"\n' for key, value in files.items())
    return f'transport = "tls"\nhost = "127.0.0.1"\nport = {port}\nreply_timeout_ms = 2000\n{keys}'


def identity(pki: Pki) -> dict[str, Path | str]:
    return {"cert_file": pki.client.cert_file, "key_file": pki.client.key_file}


@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("trust", ["ca_file", "server_cert_file"])
async def test_a_device_is_read_over_tls_by_its_authority_or_by_its_own_certificate(
    tmp_path: Path, most: ssl.TLSVersion, trust: str
) -> None:
    """The longest reply, which pymodbus's own client would lose when it comes in two records."""
    pki = make_pki(tmp_path)
    trusted = pki.ca_file if trust == "ca_file" else pki.server.cert_file
    server = ModbusTlsServer(
        devices(), framer=FramerType.SOCKET, address=PLACE, sslctx=server_context(pki, most=most)
    )
    async with running(server) as port:
        keys = over_tls(port, **{trust: trusted}, **identity(pki))
        await read_units(tmp_path, {1: keys, 2: keys + "unit = 2"})


async def why_away(tmp_path: Path, keys: str) -> str:
    (collector,) = collectors_of(tmp_path, device_text("meter", keys))

    async def read_on() -> None:
        async with asyncio.timeout(10), collector.connect() as session:
            async for _ in session.scans():
                pass

    with pytest.raises(SourceUnavailable) as away:
        await read_on()
    return str(away.value)


async def test_a_device_that_tls_cannot_name_is_away_and_is_asked_nothing(tmp_path: Path) -> None:
    """Seen to bite: with check_hostname off, and with verify_mode none, the first is read."""
    pki = make_pki(tmp_path)
    foreign = Authority("Somebody else").write_ca(tmp_path / "foreign.pem")
    other = Authority("Another").server(tmp_path, "other")
    sibling = pki.client.cert_file
    server = ModbusTlsServer(
        devices(), framer=FramerType.SOCKET, address=PLACE, sslctx=server_context(pki)
    )
    async with running(server) as port:
        refused = {
            "name": over_tls(port, ca_file=pki.ca_file, server_name="meter.local", **identity(pki)),
            "authority": over_tls(port, ca_file=foreign, **identity(pki)),
            "pin": over_tls(port, server_cert_file=other.cert_file, **identity(pki)),
            "sibling": over_tls(port, server_cert_file=sibling, **identity(pki)),
        }
        for what, keys in refused.items():
            text = await why_away(tmp_path / what, keys)
            assert "cannot be trusted: " in text, what
            assert "; check ca_file and server_name" in text, what
        # The device refuses whom it cannot name, too: it says so after our handshake.
        assert "meter at" in await why_away(
            tmp_path / "nobody", over_tls(port, ca_file=pki.ca_file)
        )


async def test_a_port_without_tls_is_away_with_a_sentence(tmp_path: Path) -> None:
    pki = make_pki(tmp_path)

    async with running(ModbusTcpServer(devices(), address=PLACE)) as port:
        text = await why_away(tmp_path / "plain", over_tls(port, ca_file=pki.ca_file))
    with socket.create_server(PLACE) as nobody:
        keys = over_tls(nobody.getsockname()[1], ca_file=pki.ca_file)
        mute = await why_away(tmp_path / "mute", keys.replace("2000", "200"))

    assert "meter at 127.0.0.1" in text
    assert "check" in text
    assert "did not accept a connection within 200 ms" in mute


async def test_an_udp_port_that_nobody_serves_is_away_at_once(tmp_path: Path) -> None:
    async with running(ModbusUdpServer(devices(), address=PLACE)) as port:
        pass

    assert "is not reached" in await why_away(tmp_path, on(port, 1, "udp"))


async def test_a_serial_port_that_is_not_there_is_away_with_what_to_check(tmp_path: Path) -> None:
    text = await why_away(tmp_path, on_port(str(tmp_path / "ttyUSB7"), 1))

    assert "ttyUSB7 cannot be opened" in text
    assert "check that it is plugged in" in text


async def test_a_form_of_characters_that_the_port_does_not_have_is_away_and_no_crash(
    tmp_path: Path,
) -> None:
    """A pty has no seven bits; Linux refuses them from the second time on, by termios.error.

    Seen to bite: with termios.error not caught it ends the process, as this test.
    """
    async with relayed_ptys() as (_, ours):
        keys = on_port(ours, 1).replace("bytesize = 8", "bytesize = 7")
        texts = [await why_away(tmp_path, keys) for _ in range(2)]

    assert "cannot be opened" in texts[1]
