"""Goal: a namespace that moved is never taken for another, and a clock that jumped is in doubt.

Method: a real asyncua server restarted with other namespaces, or extended, or with another time.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from asyncua import ua
from opcua_reading import reader_of
from opcua_server import URI, Plc, double

from collectors.opcua import session as session_module
from collectors.opcua.config import OpcuaSettings
from collectors.opcua.device import build_collector
from common.errors import SourceUnavailable
from common.records import Quality

Compile = Callable[..., OpcuaSettings]


async def test_a_tag_by_index_whose_namespace_is_another_one_now_is_bad_and_said_once(
    plc: Plc, compiled: Compile, caplog: pytest.LogCaptureFixture
) -> None:
    """The node exists in the other namespace too, with a good value of something else.

    Seen to bite: without the comparison A is 99, Good.
    """
    await plc.start({"A": double(1.0), "B": double(2.0)})
    index = plc.index
    settings = compiled(
        plc.endpoint, ("A", f"ns={index};s=A", "Double"), ("B", f"nsu={URI};s=B", "Double")
    )
    collector = build_collector(settings)
    async with reader_of(settings, collector) as reader:
        before = dict(await reader.all())
    await plc.stop()

    await plc.start({"B": double(3.0)}, namespaces_before=1)
    assert plc.server is not None
    other = plc.server.nodes.objects
    await other.add_variable(ua.NodeId("A", index), f"{index}:A", double(99.0))
    for _ in range(2):
        async with reader_of(settings, collector) as reader:
            after = dict(await reader.all())

    assert plc.index != index
    assert before == {"A": (1.0, Quality.GOOD), "B": (2.0, Quality.GOOD)}
    assert after == {"A": (None, Quality.BAD_CONFIGURATION_ERROR), "B": (3.0, Quality.GOOD)}
    line = f"namespace {index} was {URI}, is urn:other:0: write nsu= in the tags' addresses"
    assert caplog.text.count(line) == 1


async def test_a_namespace_that_comes_later_makes_its_tags_good(
    plc: Plc, compiled: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "PROBE_S", 0.1)
    monkeypatch.setattr(session_module, "OBSERVE_EVERY_S", 0.2)
    await plc.start({"A": double(1.0)})
    settings = compiled(
        plc.endpoint,
        ("A", f"nsu={URI};s=A", "Double"),
        ("Late", "nsu=urn:late;s=L", "Double"),
    )

    async with reader_of(settings) as reader:
        before = dict(await reader.all())
        assert plc.server is not None
        index = await plc.server.register_namespace("urn:late")
        await plc.server.nodes.objects.add_variable(
            ua.NodeId("L", index), f"{index}:L", double(8.0)
        )
        after = await reader.until(lambda rows: rows["Late"][0] == 8.0)

    assert before["Late"] == (None, Quality.BAD_NODE_ID_UNKNOWN), "only the tag of it"
    assert after == {"A": (1.0, Quality.GOOD), "Late": (8.0, Quality.GOOD)}


async def test_namespaces_renumbered_while_connected_end_the_session(
    plc: Plc, compiled: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "PROBE_S", 0.1)
    monkeypatch.setattr(session_module, "OBSERVE_EVERY_S", 0.2)
    await plc.start({"A": double(1.0)})
    settings = compiled(plc.endpoint, ("A", f"nsu={URI};s=A", "Double"))

    async with reader_of(settings) as reader:
        await reader.all()
        assert plc.server is not None
        array = plc.server.get_node(ua.NodeId(2255))
        await array.write_value([*(await array.read_value())[:-1], "urn:other", URI])
        with pytest.raises(SourceUnavailable, match="renumbered its namespaces"):
            await reader.until(lambda rows: rows["A"][0] is None)


async def test_after_a_jump_of_the_servers_clock_source_times_are_uncertain_until_confirmed(
    plc: Plc, compiled: Compile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Seen to bite: without asking the doubt, the value after the jump is Good."""
    monkeypatch.setattr(session_module, "PROBE_S", 0.05)
    monkeypatch.setattr(session_module, "OBSERVE_EVERY_S", 0.1)
    await plc.start({"A": double(0.0), "NoTime": double(0.0)})
    assert plc.server is not None
    ahead = timedelta(0)
    service = plc.server.iserver.attribute_service
    read = service.read

    def read_ahead(params: ua.ReadParameters) -> list[ua.DataValue]:
        results = list(read(params))
        for asked, result in zip(params.NodesToRead, results, strict=True):
            if asked.NodeId.Identifier == 2258:
                result.Value = ua.Variant(datetime.now(UTC) + ahead, ua.VariantType.DateTime)
        return results

    service.read = read_ahead
    settings = compiled(
        plc.endpoint,
        ("A", f"nsu={URI};s=A", "Double"),
        ("NoTime", f"nsu={URI};s=NoTime", "Double"),
    )

    async with reader_of(settings) as reader:
        await reader.all()
        clock = reader.collector.clock

        async def changed_until(wanted: int) -> None:
            value = reader.rows["A"][0]
            while reader.rows["A"][1] != wanted:
                value += 1.0
                await plc.set("A", ua.DataValue(double(value), SourceTimestamp=datetime.now(UTC)))
                await plc.set("NoTime", ua.DataValue(double(value), SourceTimestamp=None))
                await reader.until(lambda rows, now=value: rows["A"][0] == now)  # type: ignore[misc]

        for value in range(1, 1_000):
            if clock.offset_ns is not None:
                break
            await plc.set("A", double(float(value)))
            await reader.until(lambda rows, now=float(value): rows["A"][0] == now)  # type: ignore[misc]
        assert clock.offset_ns is not None
        assert abs(clock.offset_ns) < 2_000_000_000, "both are this machine's"
        ahead = timedelta(hours=1)
        await changed_until(Quality.UNCERTAIN)
        timeless = reader.rows["NoTime"]
        assert clock.jumps == 1
        await changed_until(Quality.GOOD)

    assert timeless[1] == Quality.GOOD, "a value without a time of its own is not in doubt"
    assert 3_590 < clock.offset_ns / 1e9 < 3_610
    assert caplog.text.count("has jumped") == 1
