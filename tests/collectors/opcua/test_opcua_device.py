"""Goal: what an OPC UA server notifies becomes scans, and a server that is gone is noticed.

Method: a real asyncua server on loopback, a real session of ours; the server's nodes are written,
removed, stopped and frozen behind our back.
"""

# ruff: noqa: PT012 - a lost session is raised deep in its blocks

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from opcua_server import URI, Plc

from collectors.opcua import session as session_module
from collectors.opcua import subscription as subscription_module
from collectors.opcua.config import OpcuaSettings
from collectors.opcua.device import build_collector
from common.errors import SourceUnavailable
from common.records import Quality, Scan, decode_scan, encode_scan

Compile = Callable[..., OpcuaSettings]

SOURCE_AT = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
SOURCE_AT_NS = 1_772_366_400_123_456_000


def double(value: float) -> ua.Variant:
    return ua.Variant(value, ua.VariantType.Double)


@asynccontextmanager
async def reading(settings: OpcuaSettings) -> AsyncIterator[AsyncGenerator[Scan, None]]:
    """Connect, and give the scans; bounded as a whole."""
    async with asyncio.timeout(30):
        async with build_collector(settings).connect() as session, aclosing(session.scans()) as it:
            yield it


async def columns_of(
    scans: AsyncGenerator[Scan, None], count: int, wanted: set[int]
) -> dict[int, tuple[Any, int, int | None]]:
    """Take scans until every wanted column was seen; return the last (value, quality, time)."""
    seen: dict[int, tuple[Any, int, int | None]] = {}
    while not wanted <= seen.keys():
        scan = await anext(scans)
        assert decode_scan(encode_scan(scan)) == scan, "what is yielded can be handed over"
        indexes = scan.indexes if scan.indexes is not None else list(range(count))
        qualities = scan.qualities or [Quality.GOOD] * len(indexes)
        times = scan.source_at_ns or [None] * len(indexes)
        rows = zip(scan.values, qualities, times, strict=True)
        seen |= dict(zip(indexes, rows, strict=True))
    return seen


async def test_the_first_scan_holds_every_tag_with_its_source_time(
    plc: Plc, compiled: Compile
) -> None:
    await plc.start({"Temp": double(1.5), "Count": ua.Variant(7, ua.VariantType.UInt32)})
    await plc.set("Temp", ua.DataValue(double(21.5), SourceTimestamp=SOURCE_AT))
    settings = compiled(
        plc.endpoint,
        ("Temp", f"ns={plc.index};s=Temp", "Double"),
        ("Count", f"ns={plc.index};s=Count", "uint64"),
    )

    async with reading(settings) as scans:
        scan = await anext(scans)

    assert scan.values == [21.5, 7], "one publication is one scan, columns in the plan's order"
    assert scan.indexes is None, "all columns are present"
    assert scan.qualities is None, "Good is not spelled out"
    assert scan.source_at_ns is not None
    assert scan.source_at_ns[0] == SOURCE_AT_NS, "the device's own time, UTC, to the microsecond"
    assert scan.plan == settings.groups[0].plan.fingerprint


async def test_a_change_brings_only_the_tags_that_changed(plc: Plc, compiled: Compile) -> None:
    await plc.start({"A": double(1.0), "B": double(2.0), "C": double(3.0)})
    settings = compiled(
        plc.endpoint, *((name, f"ns={plc.index};s={name}", "Double") for name in "ABC")
    )

    async with reading(settings) as scans:
        await columns_of(scans, 3, {0, 1, 2})
        await plc.set("B", double(20.0))
        scan = await anext(scans)

    assert scan.indexes == [1]
    assert scan.values == [20.0]


async def test_values_queued_between_publications_arrive_in_order(
    plc: Plc, compiled: Compile
) -> None:
    await plc.start({"A": double(0.0), "B": double(0.0)})
    settings = compiled(
        plc.endpoint,
        ("A", f"ns={plc.index};s=A", "Double"),
        ("B", f"ns={plc.index};s=B", "Double"),
        publishing_interval_ms=500,
        queue_size=10,
    )

    async with reading(settings) as scans:
        await columns_of(scans, 2, {0, 1})
        for value in (1.0, 2.0, 3.0):
            await plc.set("A", double(value))
        await plc.set("B", double(9.0))
        received: list[float] = []
        while 3.0 not in received:
            scan = await anext(scans)
            received += [
                value
                for index, value in zip(scan.indexes or [0, 1], scan.values, strict=True)
                if index == 0
            ]

    assert received == [1.0, 2.0, 3.0], "every value of the server's queue, oldest first"


async def test_a_namespace_uri_is_looked_up_at_every_connect(plc: Plc, compiled: Compile) -> None:
    await plc.start({"Temp": double(1.0)})
    settings = compiled(plc.endpoint, ("Temp", f"nsu={URI};s=Temp", "Double"))
    async with reading(settings) as scans:
        before = (await anext(scans)).values
    first_index = plc.index
    await plc.stop()

    await plc.start({"Temp": double(2.0)}, namespaces_before=3)
    async with reading(settings) as scans:
        after = (await anext(scans)).values

    assert plc.index != first_index, "the index moved, as it may when a server restarts"
    assert (before, after) == ([1.0], [2.0])


async def test_a_node_that_does_not_exist_turns_only_its_own_tag_bad(
    plc: Plc, compiled: Compile, caplog: pytest.LogCaptureFixture
) -> None:
    await plc.start({"A": double(1.0), "C": double(3.0)})
    settings = compiled(
        plc.endpoint,
        ("A", f"ns={plc.index};s=A", "Double"),
        ("Gone", f"ns={plc.index};s=Gone", "Double"),
        ("C", f"ns={plc.index};s=C", "Double"),
        ("NoSpace", "nsu=urn:nobody;s=X", "Double"),
    )

    async with reading(settings) as scans:
        seen = await columns_of(scans, 4, {0, 1, 2, 3})

    assert seen[1][:2] == (None, Quality.BAD_NODE_ID_UNKNOWN)
    assert seen[3][:2] == (None, Quality.BAD_NODE_ID_UNKNOWN), "nor is there such a namespace"
    assert (seen[0][0], seen[2][0]) == (1.0, 3.0), "the neighbours stay good"
    lines = [record for record in caplog.records if record.name.startswith("collectors.opcua")]
    assert len(lines) == 1, "one line for all of them"


async def test_a_refused_node_is_asked_for_again_and_becomes_good(
    plc: Plc, compiled: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "PROBE_S", 0.1)
    await plc.start({"A": double(1.0)})
    settings = compiled(
        plc.endpoint,
        ("A", f"ns={plc.index};s=A", "Double"),
        ("Late", f"ns={plc.index};s=Late", "Double"),
    )

    async with reading(settings) as scans:
        seen = await columns_of(scans, 2, {0, 1})
        assert seen[1][1] == Quality.BAD_NODE_ID_UNKNOWN
        await plc.add("Late", double(5.0))
        while seen[1][0] is None:
            seen |= await columns_of(scans, 2, {1})

    assert seen[1][:2] == (5.0, Quality.GOOD)


async def test_a_bad_status_is_a_value_of_none_with_the_servers_code(
    plc: Plc, compiled: Compile
) -> None:
    await plc.start({"A": double(1.0), "B": double(2.0)})
    settings = compiled(
        plc.endpoint,
        ("A", f"ns={plc.index};s=A", "Double"),
        ("B", f"ns={plc.index};s=B", "Double"),
    )

    async with reading(settings) as scans:
        await columns_of(scans, 2, {0, 1})
        failure = ua.StatusCode(ua.UInt32(ua.StatusCodes.BadSensorFailure))
        await plc.set("A", ua.DataValue(double(99.0), StatusCode=failure))
        bad = await columns_of(scans, 2, {0})
        doubtful = ua.StatusCode(ua.UInt32(ua.StatusCodes.UncertainLastUsableValue))
        await plc.set("A", ua.DataValue(double(98.0), StatusCode=doubtful))
        uncertain = await columns_of(scans, 2, {0})

    assert bad[0][:2] == (None, Quality.BAD_SENSOR_FAILURE), "a Bad value is not passed on"
    assert uncertain[0][:2] == (98.0, Quality.UNCERTAIN_LAST_USABLE_VALUE)


async def test_every_type_arrives_as_its_column_says(plc: Plc, compiled: Compile) -> None:
    kinds = ua.VariantType
    cases: list[tuple[str, Any, str, Any]] = [
        ("bool", ua.Variant(True, kinds.Boolean), "Boolean", True),  # noqa: FBT003 - its value
        ("sbyte", ua.Variant(-5, kinds.SByte), "SByte", -5),
        ("byte", ua.Variant(250, kinds.Byte), "Byte", 250),
        ("int16", ua.Variant(-32768, kinds.Int16), "Int16", -32768),
        ("int64", ua.Variant(-(2**63), kinds.Int64), "Int64", -(2**63)),
        ("uint64", ua.Variant(2**64 - 1, kinds.UInt64), "UInt64", 2**64 - 1),
        ("float", ua.Variant(1.5, kinds.Float), "Float", 1.5),
        ("text", ua.Variant("Öl", kinds.String), "String", "Öl"),
        ("null", ua.Variant(None, kinds.String), "String", ""),
        ("words", ua.Variant(ua.LocalizedText("Heiß"), kinds.LocalizedText), "string", "Heiß"),
        ("raw", ua.Variant(b"\x00\xff", kinds.ByteString), "bytes", b"\x00\xff"),
        (
            "at",
            ua.Variant(SOURCE_AT, kinds.DateTime),
            "DateTime",
            "2026-03-01T12:00:00.123456Z",
        ),
    ]
    await plc.start({name: variant for name, variant, _, _ in cases})
    settings = compiled(
        plc.endpoint, *((name, f"ns={plc.index};s={name}", kind) for name, _, kind, _ in cases)
    )

    async with reading(settings) as scans:
        seen = await columns_of(scans, len(cases), set(range(len(cases))))

    found = {cases[column][0]: row[:2] for column, row in seen.items()}
    assert found == {name: (value, Quality.GOOD) for name, _, _, value in cases}


async def test_a_value_of_another_type_is_bad_and_names_the_tag_once(
    plc: Plc, compiled: Compile, caplog: pytest.LogCaptureFixture
) -> None:
    await plc.start({"A": ua.Variant("text", ua.VariantType.String), "B": double(1.0)})
    settings = compiled(
        plc.endpoint,
        ("A", f"ns={plc.index};s=A", "Double"),
        ("B", f"ns={plc.index};s=B", "Double"),
    )

    async with reading(settings) as scans:
        seen = await columns_of(scans, 2, {0, 1})
        await plc.set("A", ua.Variant("more text", ua.VariantType.String))
        await columns_of(scans, 2, {0})

    assert seen[0][:2] == (None, Quality.BAD_TYPE_MISMATCH)
    assert seen[1][:2] == (1.0, Quality.GOOD)
    lines = [record for record in caplog.records if record.name.startswith("collectors.opcua")]
    assert len(lines) == 1, "the edge is logged, not each value"
    assert lines[0].fields["tags"] == "A"


async def test_a_stopped_server_ends_the_session_and_a_new_one_brings_every_value(
    plc: Plc, compiled: Compile
) -> None:
    await plc.start({"A": double(1.0)})
    settings = compiled(plc.endpoint, ("A", f"nsu={URI};s=A", "Double"))
    collector = build_collector(settings)

    async with asyncio.timeout(30):
        with pytest.raises(SourceUnavailable, match=str(plc.port)):
            async with collector.connect() as session, aclosing(session.scans()) as scans:
                await anext(scans)
                await plc.stop()
                async with asyncio.timeout(5):
                    await anext(scans)
        with pytest.raises(SourceUnavailable, match="refused the connection"):
            async with collector.connect():
                pass
        await plc.start({"A": double(2.0)})
        async with collector.connect() as session, aclosing(session.scans()) as scans:
            scan = await anext(scans)

    assert scan.values == [2.0], "the value is reported although it did not change since connect"


async def test_a_silent_but_living_server_is_healthy(
    plc: Plc, compiled: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "PROBE_S", 0.05)
    await plc.start({"A": double(1.0)})
    settings = compiled(plc.endpoint, ("A", f"ns={plc.index};s=A", "Double"))

    async with reading(settings) as scans:
        await anext(scans)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await anext(scans)  # Twenty probes long: no scan, and no SourceUnavailable.


async def test_a_subscription_that_died_alone_is_noticed(
    plc: Plc, compiled: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "PROBE_S", 0.2)
    monkeypatch.setattr(subscription_module, "KEEP_ALIVE_S", 0.2)
    await plc.start({"A": double(1.0)})
    settings = compiled(plc.endpoint, ("A", f"ns={plc.index};s=A", "Double"))

    async with reading(settings) as scans:
        await anext(scans)
        service = plc.server.iserver.subscription_service
        for subscription in service.subscriptions.values():
            await subscription.stop()  # The server still answers reads; nothing is published.
        with pytest.raises(SourceUnavailable, match="not even a keep-alive"):
            async with asyncio.timeout(10):
                await anext(scans)


async def test_a_publication_that_was_lost_ends_the_session(plc: Plc, compiled: Compile) -> None:
    await plc.start({"A": double(1.0)})
    settings = compiled(plc.endpoint, ("A", f"ns={plc.index};s=A", "Double"))

    async with reading(settings) as scans:
        await anext(scans)
        for subscription in plc.server.iserver.subscription_service.subscriptions.values():
            subscription._notification_seq += 1  # noqa: SLF001 - as if one had been sent
        await plc.set("A", double(2.0))
        assert (await anext(scans)).values == [2.0], "what did arrive is good"
        with pytest.raises(SourceUnavailable, match="lost on the way"):
            await anext(scans)


async def test_values_that_the_server_dropped_are_counted(
    plc: Plc, compiled: Compile, caplog: pytest.LogCaptureFixture
) -> None:
    await plc.start({"A": double(1.0)})
    settings = compiled(plc.endpoint, ("A", f"ns={plc.index};s=A", "Double"))
    collector = build_collector(settings)
    overflow = ua.StatusCode(ua.UInt32(0x00000480))

    async with asyncio.timeout(20):
        async with collector.connect() as session, aclosing(session.scans()) as scans:
            await anext(scans)
            for value in (2.0, 3.0):
                await plc.set("A", ua.DataValue(double(value), StatusCode=overflow))
                scan = await anext(scans)

    assert scan.values == [3.0], "the value itself is passed on"
    assert scan.qualities == [Quality.UNCERTAIN], "a consumer sees that values before it are lost"
    assert collector.overruns == 2
    assert caplog.text.count("raise queue_size") == 1


@pytest.mark.process
async def test_a_frozen_server_is_noticed_in_bounded_time(compiled: Compile) -> None:
    script = Path(__file__).parent / "opcua_server.py"
    child = subprocess.Popen(  # noqa: ASYNC220 - started before anything is timed
        [sys.executable, str(script), '{"shift": 0, "values": [1.0]}'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        endpoint = child.stdout.readline().strip()
        settings = compiled(endpoint, ("T0", f"nsu={URI};s=T0", "Double"), reply_timeout_ms=500)
        loop = asyncio.get_running_loop()
        collector = build_collector(settings)

        with pytest.raises(SourceUnavailable, match="no answer within 500 ms"):
            async with collector.connect() as session, aclosing(session.scans()) as scans:
                await anext(scans)
                os.kill(child.pid, signal.SIGSTOP)
                frozen_at_s = loop.time()
                async with asyncio.timeout(10):
                    await anext(scans)
        noticed_s = loop.time() - frozen_at_s
        with pytest.raises(SourceUnavailable):
            async with asyncio.timeout(5), collector.connect():
                pass

        os.kill(child.pid, signal.SIGCONT)
        patient = compiled(endpoint, ("T0", f"nsu={URI};s=T0", "Double"), reply_timeout_ms=30_000)
        async with build_collector(patient).connect() as session:
            os.kill(child.pid, signal.SIGSTOP)
            left_at_s = loop.time()
        left_s = loop.time() - left_at_s
    finally:
        os.kill(child.pid, signal.SIGCONT)
        child.kill()
        child.communicate()

    assert noticed_s < 7, "probe interval, reply timeout and disconnect together"
    assert left_s < 2, "a session is left in time however long its replies may take"


async def test_cancelling_a_connect_to_a_silent_server_takes_effect_within_two_seconds(
    compiled: Compile,
) -> None:
    async def connect(settings: OpcuaSettings) -> None:
        async with build_collector(settings).connect():
            pass

    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)  # noqa: FBT003 - the socket's own signature
        endpoint = f"opc.tcp://127.0.0.1:{silent.getsockname()[1]}"
        settings = compiled(endpoint, ("A", "ns=2;s=A", "Double"), reply_timeout_ms=30_000)
        task = asyncio.create_task(connect(settings))
        async with asyncio.timeout(5):
            connection, _ = await asyncio.get_running_loop().sock_accept(silent)
        task.cancel()
        async with asyncio.timeout(2):
            await asyncio.wait([task])
        connection.close()

    assert task.cancelled()
