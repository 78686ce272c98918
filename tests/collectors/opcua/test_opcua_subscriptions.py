"""Goal: many items are asked for in requests that the server takes, with the filters it knows.

Method: a real asyncua server whose services refuse what a script says, and remember what they
were asked.
"""

from collections.abc import Callable
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import ServiceError
from opcua_reading import reader_of
from opcua_server import Plc, double

from collectors.opcua.config import OpcuaSettings
from collectors.opcua.device import build_collector
from common.records import Quality

Compile = Callable[..., OpcuaSettings]
Codes = ua.StatusCodes


class Service:
    """The server's CreateMonitoredItems, with limits; remembers its requests."""

    def __init__(self, plc: Plc, most: int = 10_000, refused_filter: int = Codes.Good) -> None:
        assert plc.server is not None
        service = plc.server.iserver.subscription_service
        self._create = service.create_monitored_items
        self._most, self._refused_filter = most, refused_filter
        self.requests: list[list[ua.MonitoredItemCreateRequest]] = []
        service.create_monitored_items = self.create

    async def create(
        self, params: ua.CreateMonitoredItemsParameters
    ) -> list[ua.MonitoredItemCreateResult]:
        """Create, or refuse."""
        items = params.ItemsToCreate
        self.requests.append(items)
        if len(items) > self._most:
            raise ServiceError(Codes.BadTooManyOperations)
        results: list[ua.MonitoredItemCreateResult] = []
        for item in items:
            if item.RequestedParameters.Filter and self._refused_filter:
                code = ua.StatusCode(ua.UInt32(self._refused_filter))
                results.append(ua.MonitoredItemCreateResult(StatusCode=code))
            else:
                one = ua.CreateMonitoredItemsParameters(
                    params.SubscriptionId, params.TimestampsToReturn, [item]
                )
                results += await self._create(one)
        return results

    def filters(self) -> list[tuple[int, float] | None]:
        """Return (deadband type, value) of every item that was asked for."""
        asked = [item.RequestedParameters.Filter for items in self.requests for item in items]
        return [
            (int(each.DeadbandType), each.DeadbandValue) if hasattr(each, "DeadbandType") else None
            for each in asked
        ]


async def forty(plc: Plc) -> list[tuple[str, str, str]]:
    await plc.start({f"T{n}": double(float(n)) for n in range(40)})
    return [(f"T{n}", f"ns={plc.index};s=T{n}", "Double") for n in range(40)]


async def test_what_the_server_takes_in_one_call_is_learnt_once(
    plc: Plc, compiled: Compile
) -> None:
    """Seen to bite: with the limit forgotten at the end of a session, the second begins at 40."""
    rows = await forty(plc)
    service = Service(plc, most=7)
    settings = compiled(plc.endpoint, *rows)
    collector = build_collector(settings)

    async with reader_of(settings, collector) as reader:
        first = await reader.all()
    learnt, service.requests = service.requests, []
    async with reader_of(settings, collector) as reader:
        second = await reader.all()

    assert [len(items) for items in learnt[:4]] == [40, 20, 10, 5]
    assert {len(items) for items in service.requests} == {5}, "nothing too large is sent again"
    assert first == second == {f"T{n}": (float(n), Quality.GOOD) for n in range(40)}


async def test_a_request_holds_as_many_items_as_the_configuration_says(
    plc: Plc, compiled: Compile
) -> None:
    rows = await forty(plc)
    service = Service(plc)
    settings = compiled(plc.endpoint, *rows, items_per_call=16)

    async with reader_of(settings) as reader:
        await reader.all()

    assert [len(items) for items in service.requests] == [16, 16, 8]


async def test_a_limit_that_the_server_tells_is_kept_before_it_is_met(
    plc: Plc, compiled: Compile
) -> None:
    """Seen to bite: without asking for OperationLimits one request has 40 items."""
    rows = await forty(plc)
    assert plc.server is not None
    limit = plc.server.get_node(ua.NodeId(11714))
    await limit.write_value(ua.Variant(15, ua.VariantType.UInt32))
    service = Service(plc, most=15)

    async with reader_of(compiled(plc.endpoint, *rows)) as reader:
        await reader.all()

    assert [len(items) for items in service.requests] == [15, 15, 10]


async def deadbands(plc: Plc, compiled: Compile, **keys: Any) -> OpcuaSettings:
    await plc.start(
        {
            "Scaled": double(1.0),
            "Plain": double(2.0),
            "Every": double(3.0),
            "Text": ua.Variant("a", ua.VariantType.String),
        }
    )
    index = plc.index
    return compiled(
        plc.endpoint,
        ("Scaled", f"ns={index};s=Scaled", "Double", "-0.1", "0.5"),
        ("Plain", f"ns={index};s=Plain", "Double", "1", "0.25"),
        ("Every", f"ns={index};s=Every", "Double", "1", "0"),
        ("Text", f"ns={index};s=Text", "String", "", ""),
        columns="name,address,type,scale,deadband",
        **keys,
    )


async def test_an_absolute_deadband_is_asked_of_the_server_in_its_own_unit(
    plc: Plc, compiled: Compile
) -> None:
    settings = await deadbands(plc, compiled, server_deadband="absolute")
    service = Service(plc)

    async with reader_of(settings) as reader:
        rows = await reader.all()

    assert service.filters() == [(1, 5.0), (1, 0.25), None, None], "0.5 published is 5 raw"
    assert rows["Scaled"] == (1.0, Quality.GOOD)


async def test_a_percent_deadband_is_asked_for_every_number(plc: Plc, compiled: Compile) -> None:
    settings = await deadbands(
        plc, compiled, server_deadband="percent", server_deadband_percent=2.5
    )
    service = Service(plc)

    async with reader_of(settings) as reader:
        await reader.all()

    assert service.filters() == [(2, 2.5), (2, 2.5), (2, 2.5), None]


async def test_without_the_key_the_server_reports_every_change(plc: Plc, compiled: Compile) -> None:
    settings = await deadbands(plc, compiled)
    service = Service(plc)

    async with reader_of(settings) as reader:
        await reader.all()

    assert service.filters() == [None] * 4


@pytest.mark.parametrize(
    "code",
    [
        Codes.BadMonitoredItemFilterUnsupported,
        Codes.BadDeadbandFilterInvalid,
        Codes.BadFilterNotAllowed,
    ],
)
async def test_a_refused_deadband_is_given_up_and_said_once(
    plc: Plc, compiled: Compile, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    """Seen to bite: with the refusal taken for the item's, both tags stay Bad."""
    settings = await deadbands(plc, compiled, server_deadband="absolute")
    service = Service(plc, refused_filter=code)
    collector = build_collector(settings)

    for _ in range(2):
        async with reader_of(settings, collector) as reader:
            rows = await reader.all()

    assert {name: quality for name, (_, quality) in rows.items()} == dict.fromkeys(
        ("Scaled", "Plain", "Every", "Text"), Quality.GOOD
    )
    assert service.filters()[:6] == [(1, 5.0), (1, 0.25), None, None, None, None]
    assert caplog.text.count("applies no deadband") == 1, "over two sessions"
    lines = [each for each in caplog.records if "applies no deadband" in each.getMessage()]
    assert lines[0].fields["tags"] == "Scaled, Plain"


async def test_a_server_that_samples_more_slowly_than_asked_is_named_once(
    plc: Plc, compiled: Compile, caplog: pytest.LogCaptureFixture
) -> None:
    """Asyncua's server revises every sampling interval to the publishing interval."""
    await plc.start({"A": double(1.0)})
    settings = compiled(
        plc.endpoint, ("A", f"ns={plc.index};s=A", "Double"), sampling_interval_ms=10
    )
    collector = build_collector(settings)

    for _ in range(2):
        async with reader_of(settings, collector) as reader:
            await reader.all()

    [line] = [each for each in caplog.records if "as fast as asked" in each.getMessage()]
    assert line.fields["reason"] == "every 50 ms instead of 10 ms"


async def test_several_publish_requests_wait_at_the_server(plc: Plc, compiled: Compile) -> None:
    """Seen to bite: with one at a time, as asyncua's loop has it, none or one is waiting."""
    await plc.start({"A": double(1.0)})
    settings = compiled(plc.endpoint, ("A", f"ns={plc.index};s=A", "Double"))

    async with reader_of(settings) as reader:
        await reader.all()
        await plc.set("A", double(2.0))
        await reader.until(lambda rows: rows["A"][0] == 2.0)
        assert plc.server is not None
        [processor] = [
            client.processor for client in plc.server.bserver.clients if client.processor
        ]
        waiting = len(processor._publish_requests)  # noqa: SLF001 - the server has no other word

    assert waiting >= 2, "the server never waits for our next request"


async def test_requests_and_bytes_and_reply_times_are_counted(plc: Plc, compiled: Compile) -> None:
    await plc.start({"A": double(1.0)})
    settings = compiled(plc.endpoint, ("A", f"ns={plc.index};s=A", "Double"))
    collector = build_collector(settings)

    async with reader_of(settings, collector) as reader:
        await reader.all()
        before = collector.traffic.detail()
        await plc.set("A", double(2.0))
        await reader.until(lambda rows: rows["A"][0] == 2.0)
        after = collector.traffic.detail()

    # Hello, channel, endpoints, session, activation, namespaces, subscription, items, publishes.
    assert before["requests"] >= 10
    assert before["bytes_sent"] > 1_000
    assert before["bytes_received"] > 1_000
    assert 0 < before["reply_p50_s"] < 5
    assert after["requests"] > before["requests"], "each publication is asked for"
    assert after["bytes_received"] >= before["bytes_received"] + 50
