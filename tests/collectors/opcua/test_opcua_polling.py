"""Goal: a server without subscriptions is read at the group's period, and its tags are as good.

Method: a real asyncua server whose subscription service refuses, or whose reads are limited.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from asyncua import ua
from asyncua.common.utils import ServiceError
from opcua_proxy import proxy, unparsable_mark
from opcua_reading import reader_of
from opcua_server import Plc, double

from collectors.opcua.config import OpcuaSettings
from collectors.opcua.device import build_collector
from common.errors import SourceUnavailable
from common.records import Quality

Compile = Callable[..., OpcuaSettings]
AT = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
AT_NS = 1_772_366_400_123_456_000


def refuse_subscriptions(plc: Plc, code: int) -> None:
    async def refused(*_: object, **__: object) -> None:
        raise ServiceError(code)

    assert plc.server is not None
    plc.server.iserver.subscription_service.create_subscription = refused


@pytest.mark.parametrize(
    "code", [ua.StatusCodes.BadServiceUnsupported, ua.StatusCodes.BadTooManySubscriptions]
)
async def test_a_server_without_subscriptions_is_polled_and_that_is_said_once(
    plc: Plc, compiled: Compile, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    await plc.start({"A": double(1.0), "B": double(2.0)})
    refuse_subscriptions(plc, code)
    rows = [(name, f"ns={plc.index};s={name}", "Double") for name in "AB"]
    settings = compiled(plc.endpoint, *rows)
    collector = build_collector(settings)

    for _ in range(2):
        async with reader_of(settings, collector) as reader:
            await plc.set("A", double(1.0))
            first = dict(await reader.all())
            await plc.set("A", ua.DataValue(double(5.0), SourceTimestamp=AT))
            second = dict(await reader.until(lambda rows: rows["A"][0] == 5.0))
            at_ns = reader.times["A"]

    assert first == {"A": (1.0, Quality.GOOD), "B": (2.0, Quality.GOOD)}
    assert second == {"A": (5.0, Quality.GOOD), "B": (2.0, Quality.GOOD)}
    assert at_ns == AT_NS, "the server's time of the value, as with a subscription"
    assert caplog.text.count("its tags are polled") == 1


async def test_subscribe_means_that_a_server_without_subscriptions_is_away(
    plc: Plc, compiled: Compile
) -> None:
    await plc.start({"A": double(1.0)})
    refuse_subscriptions(plc, ua.StatusCodes.BadServiceUnsupported)
    settings = compiled(plc.endpoint, ("A", f"ns={plc.index};s=A", "Double"), mode="subscribe")

    with pytest.raises(SourceUnavailable, match="BadServiceUnsupported"):
        async with reader_of(settings):
            pass


async def test_polled_tags_are_read_in_requests_that_the_server_takes(
    plc: Plc, compiled: Compile
) -> None:
    """Seen to bite: without halving the session ends with BadTooManyOperations."""
    await plc.start({f"T{n}": double(float(n)) for n in range(20)})
    assert plc.server is not None
    service = plc.server.iserver.attribute_service
    read, sizes = service.read, []

    def limited(params: ua.ReadParameters) -> list[ua.DataValue]:
        sizes.append(len(params.NodesToRead))
        if len(params.NodesToRead) > 6:
            raise ServiceError(ua.StatusCodes.BadTooManyOperations)
        return list(read(params))

    service.read = limited
    rows = [(f"T{n}", f"ns={plc.index};s=T{n}", "Double") for n in range(20)]
    settings = compiled(plc.endpoint, *rows, mode="poll")

    async with reader_of(settings) as reader:
        found = await reader.all()

    assert found == {f"T{n}": (float(n), Quality.GOOD) for n in range(20)}
    assert sizes[-4:] == [5, 5, 5, 5], "all of them in one scan"


async def test_a_polled_node_that_does_not_exist_turns_only_its_own_tag_bad(
    plc: Plc, compiled: Compile, caplog: pytest.LogCaptureFixture
) -> None:
    await plc.start({"A": double(1.0)})
    settings = compiled(
        plc.endpoint,
        ("A", f"ns={plc.index};s=A", "Double"),
        ("Gone", f"ns={plc.index};s=Gone", "Double"),
        ("NoSpace", "nsu=urn:nobody;s=X", "Double"),
        mode="poll",
    )

    async with reader_of(settings) as reader:
        await reader.until(lambda _: len(reader.history.get("Gone", ())) >= 3)
        before = dict(reader.rows)
        await plc.add("Gone", double(4.0))
        after = await reader.until(lambda rows: rows["Gone"][0] == 4.0)

    assert before == {
        "A": (1.0, Quality.GOOD),
        "Gone": (None, Quality.BAD_NODE_ID_UNKNOWN),
        "NoSpace": (None, Quality.BAD_NODE_ID_UNKNOWN),
    }
    assert after["Gone"] == (4.0, Quality.GOOD)
    assert caplog.text.count("does not give these tags") == 1


async def test_a_polled_value_that_nobody_can_parse_is_one_bad_tag(
    plc: Plc, compiled: Compile
) -> None:
    """The type byte says ExtensionObject, but a text follows."""
    await plc.start({"A": double(1.0), "Odd": ua.Variant("MARKMARK", ua.VariantType.String)})

    async with proxy(plc.port, lambda: unparsable_mark) as between:
        settings = compiled(
            between.endpoint,
            ("A", f"ns={plc.index};s=A", "Double"),
            ("Odd", f"ns={plc.index};s=Odd", "String"),
            mode="poll",
        )
        async with reader_of(settings) as reader:
            rows = await reader.all()

    assert rows == {"A": (1.0, Quality.GOOD), "Odd": (None, Quality.BAD_DECODING_ERROR)}


async def test_periods_that_polling_does_not_hold_are_counted(plc: Plc, compiled: Compile) -> None:
    await plc.start({"A": double(1.0)})
    settings = compiled(
        plc.endpoint, ("A", f"ns={plc.index};s=A", "Double"), mode="poll", period_ms=10
    )
    assert plc.server is not None
    service = plc.server.iserver.attribute_service
    read = service.read

    def slow(params: ua.ReadParameters) -> list[ua.DataValue]:
        time.sleep(0.05)  # The server's own event loop stands still, as a busy PLC does.
        return list(read(params))

    async with reader_of(settings) as reader:
        await reader.all()
        service.read = slow
        await reader.until(lambda _: reader.collector.overruns >= 5)

    assert reader.collector.overruns >= 5


async def test_a_polled_server_that_stops_is_away(plc: Plc, compiled: Compile) -> None:
    await plc.start({"A": double(1.0)})
    settings = compiled(
        plc.endpoint, ("A", f"ns={plc.index};s=A", "Double"), mode="poll", reply_timeout_ms=500
    )

    async with reader_of(settings) as reader:
        await reader.all()
        await plc.stop()
        with pytest.raises(SourceUnavailable, match=str(plc.port)):
            await reader.until(lambda rows: rows["A"][0] is None)
