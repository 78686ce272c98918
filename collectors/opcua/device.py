"""One OPC UA server, read by subscriptions. With client.py and notification.py knows asyncua.

asyncua's own subscription objects, watchdog and reconnect are not used: each of them can lose
data or stand still without a word. A session here takes whole publications from the publish
loop, watches their age, and ends with SourceUnavailable; the runner then builds everything anew.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds

from collectors.compiling import CompiledGroup
from collectors.deviceclock import DeviceClock
from collectors.opcua.address import NodeAddress
from collectors.opcua.client import (
    ERRORS,
    LIFETIME_S,
    MALFORMED,
    as_unavailable,
    new_client,
)
from collectors.opcua.config import OpcuaSettings
from collectors.opcua.decode import gather
from collectors.opcua.notification import SEVERITY_AND_CODE, Ledger, notified
from collectors.traffic import Traffic
from common.clock import monotonic_ns, monotonic_s, now_ns
from common.errors import SourceUnavailable
from common.records import Plan, Quality, Scan

ITEMS_PER_CALL = 500
"""A server that creates 10,000 items in one call is blocked for seconds."""
KEEP_ALIVE_S = 5.0
KEEP_ALIVES_MISSED = 3
"""A subscription that was silent for this many keep-alives is dead, whatever the socket says."""
PROBE_S = 2.0
"""A server that published nothing for this long is asked whether it lives."""
RETRY_REFUSED_S = 60.0
PUBLICATIONS_WAITING_MAX = 100
"""Beyond it the server is not asked for more; its own queues fill, and mark what they lose."""
NOTIFICATIONS_PER_PUBLISH = 10_000
DISCONNECT_S = 1.0

_NEVER_S = 86_400.0


class Arrival(NamedTuple):
    """What one publication brought to one subscription, and when."""

    subscription: "Subscription"
    read_at_ns: int
    monotonic_ns: int
    items: list[ua.MonitoredItemNotification]
    refused: dict[int, int]
    """Column → status code of tags that the server will not monitor."""


@dataclass(eq=False)
class Subscription:
    """One group at the server."""

    group: CompiledGroup[NodeAddress]
    sampling_ms: float
    queue_size: int
    id: int = 0
    silence_limit_s: float = _NEVER_S
    heard_s: float = field(default_factory=monotonic_s)
    sequence: int = 0
    """Of the last publication with data. The first has 1 (10000-4, 5.14.1.1), as has the one
    that follows 2**32 - 1."""
    awaited: set[int] = field(default_factory=set)
    """Columns that the server accepted and has not reported yet."""
    await_until_s: float = field(default_factory=lambda: monotonic_s() + _NEVER_S)

    @property
    def plan(self) -> Plan:
        """The plan of its scans."""
        return self.group.plan


class OpcuaCollector:
    """One configured server (contract.py: Collector)."""

    def __init__(self, settings: OpcuaSettings) -> None:
        self._settings = settings
        self._ledger = Ledger()
        self.traffic = Traffic()
        self.clock = DeviceClock()

    @property
    def plans(self) -> tuple[Plan, ...]:
        """One plan per group."""
        return tuple(group.plan for group in self._settings.groups)

    @property
    def overruns(self) -> int:
        """Publications in which the server's queue of a tag had overflowed."""
        return self._ledger.overflows

    @asynccontextmanager
    async def connect(self) -> AsyncIterator["OpcuaSession"]:
        """Open a session with a subscription per group; see contract.py."""
        config = self._settings.config
        with as_unavailable(config):
            client = await new_client(config)
            session = OpcuaSession(client, self._settings, self._ledger)
        try:
            with as_unavailable(config):
                await client.connect()
                await session.open()
            yield session
        finally:
            session.stop()
            with suppress(*ERRORS):
                async with asyncio.timeout(DISCONNECT_S):
                    await client.disconnect()
            client.disconnect_socket()


class OpcuaSession:
    """Subscriptions on one connection (contract.py: Session)."""

    def __init__(self, client: Client, settings: OpcuaSettings, ledger: Ledger) -> None:
        self._client = client
        self._services = client.uaclient.session
        self._settings = settings
        self._ledger = ledger
        self._subscriptions: list[Subscription] = []
        self._arrived: asyncio.Queue[Arrival | None] = asyncio.Queue()
        """Bounded by _on_publication; None is the last: the watch has ended."""
        self._namespaces: list[str] = []
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._watch: asyncio.Task[None] | None = None
        client.connection_lost_callback = self._on_connection_lost
        # The publish loop drops a publication that it cannot parse, and goes on without a word.
        self._publish = self._services.publish
        self._services.publish = self._on_publish  # type: ignore[method-assign]

    async def open(self) -> None:
        """Create a subscription and its items for every group. Raises the library's errors."""
        for group in self._settings.groups:
            publishing_ms, sampling_ms, queue_size = self._settings.intervals(group)
            subscription = Subscription(group, sampling_ms, queue_size)
            await self._create(subscription, publishing_ms)
            self._subscriptions.append(subscription)
            await self._subscribe(subscription, range(len(group.addresses)))
        self._watch = asyncio.create_task(self._watching())
        self._watch.add_done_callback(lambda _: self._arrived.put_nowait(None))

    def stop(self) -> None:
        """Stop watching; scans ends."""
        if self._watch:
            self._watch.cancel()
            if self._watch.done() and not self._watch.cancelled():
                self._watch.exception()  # Known to scans, or nobody was left to care.

    async def scans(self) -> AsyncGenerator[Scan, None]:
        """Yield what each publication brings; after connect, first the value of every tag."""
        while (arrival := await self._arrived.get()) is not None:
            group = arrival.subscription.group
            with as_unavailable(self._settings.config):
                found = notified(group, arrival.items, arrival.refused, self._ledger)
            for scan in gather(
                group.plan,
                found,
                read_at_ns=arrival.read_at_ns,
                monotonic_ns=arrival.monotonic_ns,
            ):
                yield scan
        if self._watch:
            await self._watch  # Raises why it has ended.

    async def _create(self, subscription: Subscription, publishing_ms: float) -> None:
        keep_alives = max(1, round(KEEP_ALIVE_S * 1000 / publishing_ms))
        lifetime = max(KEEP_ALIVES_MISSED * keep_alives, round(LIFETIME_S * 1000 / publishing_ms))
        result = await self._services.create_subscription(
            ua.CreateSubscriptionParameters(
                RequestedPublishingInterval=publishing_ms,
                RequestedLifetimeCount=lifetime,
                RequestedMaxKeepAliveCount=keep_alives,
                MaxNotificationsPerPublish=NOTIFICATIONS_PER_PUBLISH,
                PublishingEnabled=True,
            ),
            partial(self._on_publication, subscription),
        )
        subscription.id = result.SubscriptionId
        keep_alive_s = result.RevisedPublishingInterval * result.RevisedMaxKeepAliveCount / 1000
        subscription.silence_limit_s = KEEP_ALIVES_MISSED * max(keep_alive_s, PROBE_S)
        subscription.heard_s = monotonic_s()

    async def _subscribe(self, subscription: Subscription, columns: Iterable[int]) -> None:
        """Ask for the columns' nodes; whoever is refused becomes an arrival of Bad tags."""
        group, wanted = subscription.group, list(columns)
        if any(isinstance(group.addresses[column].namespace, str) for column in wanted):
            self._namespaces = await self._client.get_namespace_array()
        subscription.awaited.update(wanted)
        nodes = {column: self._node_id(group.addresses[column]) for column in wanted}
        refused = {
            column: Quality.BAD_NODE_ID_UNKNOWN for column, node in nodes.items() if node is None
        }
        found = [(column, node) for column, node in nodes.items() if node is not None]
        for first in range(0, len(found), ITEMS_PER_CALL):
            part = found[first : first + ITEMS_PER_CALL]
            if self._ledger.unparsable:
                unparsable = await self._unparsable(part)
                refused |= dict.fromkeys(unparsable, Quality.BAD_DECODING_ERROR)
                part = [each for each in part if each[0] not in unparsable]
            if part:
                refused |= await self._create_items(subscription, part)
        subscription.awaited -= refused.keys()
        subscription.await_until_s = monotonic_s() + subscription.silence_limit_s
        self._note_refused(subscription, wanted, refused)

    async def _unparsable(self, nodes: list[tuple[int, ua.NodeId]]) -> set[int]:
        """Return the columns whose values nobody can parse: each would end every publication."""
        wanted = [ua.ReadValueId(NodeId=node, AttributeId=AttributeIds.Value) for _, node in nodes]
        try:
            await self._services.read(ua.ReadParameters(NodesToRead=wanted))
        except (ua.uaerrors.BadTooManyOperations, *MALFORMED):
            if len(nodes) == 1:
                return {nodes[0][0]}
            half = len(nodes) // 2
            return await self._unparsable(nodes[:half]) | await self._unparsable(nodes[half:])
        return set()

    async def _create_items(
        self, subscription: Subscription, nodes: list[tuple[int, ua.NodeId]]
    ) -> dict[int, int]:
        """Return the columns that the server refuses; their codes are Bad."""
        requests = [
            ua.MonitoredItemCreateRequest(
                ItemToMonitor=ua.ReadValueId(NodeId=node, AttributeId=AttributeIds.Value),
                MonitoringMode=ua.MonitoringMode.Reporting,
                RequestedParameters=ua.MonitoringParameters(
                    ClientHandle=column,
                    SamplingInterval=subscription.sampling_ms,
                    QueueSize=subscription.queue_size,
                    DiscardOldest=True,
                ),
            )
            for column, node in nodes
        ]
        try:
            results = await self._services.create_monitored_items(
                ua.CreateMonitoredItemsParameters(
                    SubscriptionId=subscription.id,
                    TimestampsToReturn=ua.TimestampsToReturn.Both,
                    ItemsToCreate=requests,
                )
            )
        except ua.uaerrors.BadTooManyOperations:
            if len(nodes) == 1:
                raise
            half = len(nodes) // 2
            first = await self._create_items(subscription, nodes[:half])
            return first | await self._create_items(subscription, nodes[half:])
        return {
            column: result.StatusCode.value & SEVERITY_AND_CODE
            for (column, _), result in zip(nodes, results, strict=True)
            if not result.StatusCode.is_good()
        }

    def _node_id(self, address: NodeAddress) -> ua.NodeId | None:
        index = address.namespace
        if isinstance(index, str):
            if index not in self._namespaces:
                return None
            index = self._namespaces.index(index)
        return ua.NodeId(address.identifier, index)  # type: ignore[arg-type]  # its own ints

    async def _on_publish(self, acks: list[ua.SubscriptionAcknowledgement]) -> ua.PublishResponse:
        """Ask for a publication, as the publish loop does; losing one loses the session."""
        try:
            return await self._publish(acks)
        except (ua.uaerrors.UaStructParsingError, *MALFORMED) as error:
            self._ledger.unparsable = True
            cause = error.__cause__ or error
            self._lose(f"sent a publication that cannot be parsed ({type(cause).__name__})")
            raise

    async def _on_publication(self, subscription: Subscription, result: ua.PublishResult) -> None:
        """Take a publication. The publish loop swallows what is raised here."""
        read_at_ns, at_ns = now_ns(), monotonic_ns()
        subscription.heard_s = monotonic_s()
        try:
            self._take(subscription, result.NotificationMessage, read_at_ns, at_ns)
        except MALFORMED as error:
            self._lose(f"sent a publication that makes no sense ({type(error).__name__}: {error})")
        # The publish loop waits for this method, so the server is not asked for more meanwhile.
        while self._arrived.qsize() >= PUBLICATIONS_WAITING_MAX:
            await asyncio.sleep(0.01)
            subscription.heard_s = monotonic_s()

    def _take(
        self,
        subscription: Subscription,
        message: ua.NotificationMessage,
        read_at_ns: int,
        at_ns: int,
    ) -> None:
        for part in message.NotificationData or ():
            if isinstance(part, ua.StatusChangeNotification):
                self._lose(f"the server ended the subscription: {part.Status.name}")
            elif isinstance(part, ua.DataChangeNotification):
                items = part.MonitoredItems or []
                if subscription.awaited:
                    subscription.awaited.difference_update(item.ClientHandle for item in items)
                self._arrived.put_nowait(Arrival(subscription, read_at_ns, at_ns, items, {}))
        if message.NotificationData:
            last, subscription.sequence = subscription.sequence, message.SequenceNumber
            if message.SequenceNumber != last % 0xFFFFFFFF + 1:
                self._lose(f"publications {last} to {message.SequenceNumber} were lost on the way")

    async def _on_connection_lost(self, error: Exception) -> None:
        self._lose(f"the server closed the connection ({error})")

    def _lose(self, reason: str) -> None:
        if not self._lost.done():
            self._lost.set_result(reason)

    async def _watching(self) -> None:
        """Return never; raise SourceUnavailable as soon as the connection cannot be trusted."""
        config = self._settings.config
        retry_at_s = monotonic_s() + RETRY_REFUSED_S
        while True:
            await asyncio.wait([self._lost], timeout=PROBE_S)
            if self._lost.done():
                raise SourceUnavailable(f"{config.endpoint}: {self._lost.result()}")
            now_s = monotonic_s()
            with as_unavailable(config):
                if all(now_s - each.heard_s > PROBE_S for each in self._subscriptions):
                    await self._client.nodes.server_state.read_value()
                if now_s >= retry_at_s:
                    retry_at_s = now_s + RETRY_REFUSED_S
                    await self._retry_refused()
            for each in self._subscriptions:
                self._note_awaited(each)
                silent_s = monotonic_s() - each.heard_s
                if silent_s > each.silence_limit_s and not self._arrived.qsize():
                    text = f"group {each.plan.group} heard nothing for {silent_s:.0f} s"
                    raise SourceUnavailable(f"{config.endpoint}: {text}, not even a keep-alive")

    async def _retry_refused(self) -> None:
        for subscription in self._subscriptions:
            name = subscription.plan.group
            columns = [column for group, column in self._ledger.refused if group == name]
            if columns:
                await self._subscribe(subscription, columns)

    def _note_awaited(self, subscription: Subscription) -> None:
        """Tell consumers of tags that were accepted, and for which no first value came."""
        if subscription.awaited and monotonic_s() >= subscription.await_until_s:
            columns = sorted(subscription.awaited)
            subscription.awaited.clear()
            self._ledger.note_silent(subscription.plan, columns)
            codes = dict.fromkeys(columns, Quality.BAD_WAITING_FOR_INITIAL_DATA)
            now = Arrival(subscription, now_ns(), monotonic_ns(), [], codes)
            self._arrived.put_nowait(now)

    def _note_refused(
        self, subscription: Subscription, asked: list[int], refused: dict[int, int]
    ) -> None:
        self._ledger.note_refused(subscription.plan, asked, refused)
        if refused:
            now = Arrival(subscription, now_ns(), monotonic_ns(), [], refused)
            self._arrived.put_nowait(now)


def build_collector(settings: object) -> OpcuaCollector:
    """Return the collector of one compiled device (contract.py: Build)."""
    if not isinstance(settings, OpcuaSettings):
        raise TypeError(f"expected OpcuaSettings, found {type(settings).__name__}")
    # The library logs a traceback for every outage; the runner says it once, in words.
    logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)
    return OpcuaCollector(settings)
