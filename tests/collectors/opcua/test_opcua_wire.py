"""Goal: whatever bytes a server sends, its tags are good, Uncertain, Bad or away; nothing crashes.

Method: a real asyncua server whose publications are held back or renumbered, and a proxy on the
wire that changes what the server says.
"""

# ruff: noqa: PT012 - a lost session is raised deep in its blocks

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from asyncua import ua
from asyncua.server.internal_subscription import InternalSubscription
from opcua_proxy import proxy, unparsable_mark
from opcua_server import Plc

from collectors.opcua import device as device_module
from collectors.opcua import session as session_module
from collectors.opcua import subscription as subscription_module
from collectors.opcua.config import OpcuaSettings
from collectors.opcua.device import build_collector
from collectors.runner import DeviceState, keep_collecting
from common.errors import SourceUnavailable
from common.records import Plan, Quality, Scan, decode_scan, encode_scan

Compile = Callable[..., OpcuaSettings]


STRING = ua.VariantType.String


def double(value: float) -> ua.Variant:
    return ua.Variant(value, ua.VariantType.Double)


async def rows_until(
    settings: OpcuaSettings, enough: Callable[[dict[str, tuple[Any, int]]], bool]
) -> dict[str, tuple[Any, int]]:
    """Collect as the process does, across sessions, until `enough`; return the last of each tag."""
    latest: dict[str, tuple[Any, int]] = {}
    done = asyncio.Event()

    def forward(scan: Scan, plan: Plan) -> None:
        scan = decode_scan(encode_scan(scan))
        indexes = scan.indexes if scan.indexes is not None else range(len(plan.columns))
        qualities = scan.qualities or [Quality.GOOD] * len(scan.values)
        for index, value, quality in zip(indexes, scan.values, qualities, strict=True):
            latest[plan.columns[index].name] = (value, quality)
        if enough(latest):
            done.set()

    def no_delays() -> AsyncIterator[float]:
        return iter(lambda: 0.01, None)  # type: ignore[return-value]

    device = DeviceState(build_collector(settings))
    collecting = asyncio.create_task(keep_collecting(device, forward, no_delays))  # type: ignore[arg-type]
    waiting = asyncio.create_task(done.wait())
    try:
        async with asyncio.timeout(20):
            await asyncio.wait([collecting, waiting], return_when=asyncio.FIRST_COMPLETED)
        assert waiting.done(), collecting.exception()
    finally:
        for task in (collecting, waiting):
            task.cancel()
        await asyncio.gather(collecting, waiting, return_exceptions=True)
    return latest


@asynccontextmanager
async def reading(settings: OpcuaSettings) -> AsyncIterator[AsyncGenerator[Scan, None]]:
    async with asyncio.timeout(30):
        async with build_collector(settings).connect() as session, aclosing(session.scans()) as it:
            yield it


async def test_a_text_that_is_no_utf8_is_read_as_latin1_and_uncertain(
    plc: Plc, compiled: Compile
) -> None:
    """The server encodes with surrogateescape, as the client decodes: it sends a byte 0xE4."""
    latin = b"K\xe4rcher".decode("utf-8", "surrogateescape")
    await plc.start(
        {
            "Text": ua.Variant(latin, STRING),
            "Words": ua.Variant(ua.LocalizedText(latin), ua.VariantType.LocalizedText),
            "Plain": ua.Variant("Kärcher", STRING),
        }
    )
    settings = compiled(
        plc.endpoint,
        ("Text", f"ns={plc.index};s=Text", "String"),
        ("Words", f"ns={plc.index};s=Words", "LocalizedText"),
        ("Plain", f"ns={plc.index};s=Plain", "String"),
    )

    latest = await rows_until(settings, lambda rows: len(rows) == 3)

    assert latest == {
        "Text": ("Kärcher", Quality.UNCERTAIN),
        "Words": ("Kärcher", Quality.UNCERTAIN),
        "Plain": ("Kärcher", Quality.GOOD),
    }


async def test_a_value_that_nobody_can_parse_is_one_bad_tag_and_not_silence(
    plc: Plc, compiled: Compile
) -> None:
    """Type byte 0x16 says ExtensionObject, but a text follows: nobody can read the publication."""
    await plc.start({"A": double(1.0), "Odd": ua.Variant("MARKMARK", STRING), "Fixed": double(7.0)})

    async with proxy(plc.port, lambda: unparsable_mark) as between:
        settings = compiled(
            between.endpoint,
            ("A", f"ns={plc.index};s=A", "Double"),
            ("Odd", f"ns={plc.index};s=Odd", "String"),
            ("Fixed", f"ns={plc.index};s=Fixed", "Double"),
        )
        latest = await rows_until(
            settings, lambda rows: rows.get("Fixed", (None,))[0] == 7.0 and "Odd" in rows
        )

    assert latest == {
        "A": (1.0, Quality.GOOD),
        "Odd": (None, Quality.BAD_DECODING_ERROR),
        "Fixed": (7.0, Quality.GOOD),
    }


def prepared(monkeypatch: pytest.MonkeyPatch, **state: object) -> list[InternalSubscription]:
    """Have the server start every subscription in some state; return the subscriptions."""
    made: list[InternalSubscription] = []
    begin = InternalSubscription.__init__

    def begin_so(self: InternalSubscription, *args: object, **keys: object) -> None:
        begin(self, *args, **keys)  # type: ignore[arg-type]
        for name, value in state.items():
            assert hasattr(self, name)
            setattr(self, name, value)
        made.append(self)

    monkeypatch.setattr(InternalSubscription, "__init__", begin_so)
    return made


async def test_the_first_publication_of_a_subscription_is_missed_when_it_does_not_come(
    plc: Plc, compiled: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(monkeypatch, _notification_seq=2)
    await plc.start({"A": double(1.0)})
    settings = compiled(plc.endpoint, ("A", f"ns={plc.index};s=A", "Double"))

    with pytest.raises(SourceUnavailable, match="publications 0 to 2 were lost on the way"):
        async with reading(settings) as scans:
            await anext(scans)
            async with asyncio.timeout(5):
                await anext(scans)


async def test_tags_whose_first_value_never_comes_are_bad_and_named_once(
    plc: Plc, compiled: Compile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(session_module, "PROBE_S", 0.1)
    monkeypatch.setattr(subscription_module, "KEEP_ALIVE_S", 0.1)
    made = prepared(monkeypatch, _publishing_enabled=False)
    await plc.start({"A": double(1.0), "B": double(2.0)})
    settings = compiled(
        plc.endpoint,
        ("A", f"ns={plc.index};s=A", "Double"),
        ("B", f"ns={plc.index};s=B", "Double"),
    )

    async with reading(settings) as scans:
        first = await anext(scans)
        for subscription in made:
            await subscription.set_publishing_mode(True)
        second = await anext(scans)

    assert first.values == [None, None]
    assert first.qualities == [Quality.BAD_WAITING_FOR_INITIAL_DATA] * 2
    assert second.values == [1.0, 2.0], "a late value is a value"
    assert caplog.text.count("reports no value") == 1


async def test_an_item_that_nobody_asked_for_ends_the_session(plc: Plc, compiled: Compile) -> None:
    await plc.start({"A": double(1.0)})
    settings = compiled(plc.endpoint, ("A", f"ns={plc.index};s=A", "Double"))

    async with reading(settings) as scans:
        await anext(scans)
        for subscription in plc.server.iserver.subscription_service.subscriptions.values():
            for item in subscription.monitored_item_srv._monitored_items.values():  # noqa: SLF001 - the server's fault
                item.client_handle = 99
        await plc.set("A", double(2.0))
        with pytest.raises(SourceUnavailable, match="item 99, which it was never asked for"):
            await anext(scans)


class Noise:
    """Spoils some of a connection's replies, each in one of several ways."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._clean = rng.choice([0, 1, 2, 3, 4, 5, 6, 8, 10])

    def __call__(self, data: bytes) -> bytes:
        """Return the reply, as it is or spoilt."""
        if self._clean:
            self._clean -= 1
            return data
        rng, spoilt = self._rng, bytearray(data)
        self._clean = rng.choice([0, 1, 2, 5])
        for _ in range(rng.choice([1, 1, 2, 4])):
            at = rng.randrange(len(spoilt))
            match rng.choice(["flip", "flip", "flip", "set", "ones", "cut", "insert"]):
                case "flip":
                    spoilt[at] ^= 1 << rng.randrange(8)
                case "set":
                    spoilt[at] = rng.randrange(256)
                case "ones":
                    spoilt[at : at + 4] = b"\xff" * len(spoilt[at : at + 4])
                case "cut":
                    spoilt = spoilt[: at + 1]
                case "insert":
                    spoilt[at:at] = rng.randbytes(4)
        return bytes(spoilt)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_noise_on_the_wire_is_an_unavailable_source_and_nothing_else(
    plc: Plc, compiled: Compile, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(device_module, "DISCONNECT_S", 0.1)
    await plc.start({"A": double(0.0), "Text": ua.Variant("some text", STRING)})
    outcomes: Counter[str] = Counter()
    end_s = asyncio.get_running_loop().time() + 5

    async def changing() -> None:
        value = 0.0
        while True:
            value += 1.0
            await plc.set("A", double(value))
            await asyncio.sleep(0.01)

    async def session(settings: OpcuaSettings) -> None:
        async with build_collector(settings).connect() as it, aclosing(it.scans()) as scans:
            for _ in range(10):
                encode_scan(await anext(scans))
                outcomes["scans"] += 1

    async with proxy(plc.port, lambda: Noise(rng)) as between:
        settings = compiled(
            between.endpoint,
            ("A", f"ns={plc.index};s=A", "Double"),
            ("Text", f"ns={plc.index};s=Text", "String"),
            reply_timeout_ms=100,
        )
        writing = asyncio.create_task(changing())
        while asyncio.get_running_loop().time() < end_s:
            try:
                async with asyncio.timeout(1):
                    await session(settings)
                outcomes["whole"] += 1
            except (SourceUnavailable, TimeoutError) as error:
                outcomes[type(error).__name__] += 1
        writing.cancel()

    assert outcomes["SourceUnavailable"] >= 5, outcomes
    assert outcomes["scans"] >= 5, outcomes
