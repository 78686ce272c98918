"""Goal: there is no way from a collector to a write, a start, a stop or a block of the PLC.

Method, three times: the syntax trees (who imports the library, which of its names are used, what
the door shows); the emulator, which decodes the function code of every request that reaches it over
a life with errors, downloads and reconnects; and the judge itself, shown a client that writes.
"""

import ast
import asyncio
import struct
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path

import pytest
from s7commplus import Client
from s7commplus.protocol import DataType, FunctionCode
from s7plus_server import Plc, real

import collectors
from collectors.runner import DeviceState, keep_collecting
from collectors.s7plus import plc as door
from collectors.s7plus.config import S7PlusSettings
from collectors.s7plus.device import build_collector
from common.records import Plan, Scan

Compile = Callable[..., S7PlusSettings]

ROOM = Path(collectors.__file__).parent
DOOR = ROOM / "s7plus/plc.py"
CLIENT_NAMES = {
    "connect",
    "connected",
    "disconnect",
    "max_items_per_request",
    "read_symbolic_multi",
    "refresh_caches_if_program_changed",
    "refresh_tag_catalog",
    "tls_active",
    "_connection",
}
"""Of the library's client; `_connection` only for its socket and its counter."""


def test_one_module_alone_knows_the_library() -> None:
    guilty = [
        str(path.relative_to(ROOM))
        for path in sorted(ROOM.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        and "s7commplus" in ast.dump(node)
        and path != DOOR
    ]

    assert guilty == []


def test_the_door_opens_to_reading_only() -> None:
    shown = {name for name in vars(door.Plc) if not name.startswith("_")}

    assert shown == {"connect", "read", "browse", "changed", "close", "cut", "spent"}


def test_the_door_uses_no_other_name_of_the_client() -> None:
    """Seen to bite: `self._client.write_tag` in the door."""
    used = {
        node.attr
        for node in ast.walk(ast.parse(DOOR.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self._client"
    }
    bare = [
        node.lineno
        for node in ast.walk(ast.parse(DOOR.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and any(ast.unparse(argument) == "self._client" for argument in node.args)
    ]

    assert used == CLIENT_NAMES
    assert bare == [], "and hands it to nobody"


async def test_over_a_whole_life_nothing_but_reading_reaches_the_plc(
    plc: Plc, s7plus_compiled: Compile
) -> None:
    """The fixture asserts at its end that nothing was written; here is the life it looks at."""
    plc.run()
    rows = [
        ("Temperature_C", '"Press"."Temperature"', "REAL"),
        ("Nobody", '"Press"."Nobody"', "REAL"),
        ("Refused", "8A0E0028.63", "INT"),
        ("Raw", "8A0E0001.3.4.1", "BYTE"),
    ]
    settings = s7plus_compiled(plc.port, *rows, layout_check_ms=1_000, reply_timeout_ms=300)
    device = DeviceState(build_collector(settings))
    scans: list[Scan] = []

    def forward(scan: Scan, _: Plan) -> None:
        scans.append(scan)

    def delays_s() -> Iterator[float]:
        return repeat(0.05)

    async def holds(promise: Callable[[], bool]) -> None:
        while not promise():  # noqa: ASYNC110 - the emulator's threads set no event of this loop
            await asyncio.sleep(0.01)

    async def good(value: float) -> None:
        seen = len(scans)
        await holds(lambda: any(scan.values[0] == value for scan in scans[seen:]))

    async def away() -> None:
        await holds(lambda: device.state == "away")

    async with asyncio.timeout(60):
        life = asyncio.create_task(keep_collecting(device, forward, delays_s))
        await good(61.5)
        plc.blocks[40].variables = {"Temperature": real(2.0, 20)}  # a download
        plc.blocks[40].modified = 2
        await good(2.0)
        plc.refuse_above = 1  # every read of several is refused
        await good(2.0)
        plc.garbage = b"\xff" * 50  # nonsense
        await holds(lambda: device.state == "away" or scans[-1].values[3] is None)
        plc.garbage = None
        await good(2.0)
        plc.answering.clear()  # it hangs
        await away()
        plc.answering.set()
        await good(2.0)
        await asyncio.to_thread(plc.stop)  # it is gone, and back
        await away()
        await asyncio.to_thread(plc.run, plc.port)
        await good(2.0)
        life.cancel()
        await asyncio.wait([life])

    assert plc.written == []
    sessions = plc.counted["CREATE_OBJECT"]
    assert sessions >= 3, "several connections were seen"
    assert plc.counted["SET_MULTI_VARIABLES"] == sessions, "the session's version, once for each"
    assert set(plc.counted) <= {
        "INIT_SSL",
        "CREATE_OBJECT",
        "SET_MULTI_VARIABLES",
        "GET_VAR_SUBSTREAMED",
        "GET_MULTI_VARIABLES",
        "EXPLORE",
        "DELETE_OBJECT",
    }


@pytest.mark.parametrize(
    "harm",
    [
        lambda client: client.db_write(1, 0, b"\1", DataType.BYTE),
        lambda client: client.write_symbolic(0x8A0E0028, [10], b"\0\0\0\0", datatype=DataType.REAL),
        lambda client: client._connection.send_request(FunctionCode.INVOKE, b"\0" * 8),  # noqa: SLF001 - the library refuses to
        lambda client: client.download_block(1, 1, b"\0" * 8),
    ],
    ids=["a value", "a symbol", "stop", "a block"],
)
def test_the_judge_sees_a_client_that_writes(plc: Plc, harm: Callable[[Client], object]) -> None:
    plc.run()
    client = Client()
    client.connect(
        "127.0.0.1",
        plc.port,
        use_tls=True,
        tls_ca=str(plc.identity.cert_file.with_name("ca.pem")),
    )
    try:
        harm(client)
    except (RuntimeError, OSError, ValueError, struct.error):
        pass  # The emulator may refuse it; it was asked.
    finally:
        client.disconnect()

    assert plc.written != []
    assert FunctionCode.GET_MULTI_VARIABLES not in plc.asked
    plc.written.clear()
