"""One session: what is subscribed and polled over one connection → scans; ended when in doubt.

A session takes whole publications, watches their age, and ends with SourceUnavailable; the runner
then builds everything anew.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Iterable
from contextlib import suppress
from typing import NamedTuple, TypeVar

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua import uaerrors
from asyncua.ua.uaerrors import UaError

from collectors.deviceclock import OBSERVE_EVERY_S
from collectors.opcua.client import MALFORMED, as_unavailable
from collectors.opcua.decode import gather
from collectors.opcua.link import UNREADABLE, Facts, Link, Wanted
from collectors.opcua.memory import Memory
from collectors.opcua.notification import notified
from collectors.opcua.publishing import End, Publisher
from collectors.opcua.reading import read_items, refused_in
from collectors.opcua.resuming import resume, standing_of
from collectors.opcua.structures import Definitions
from collectors.opcua.subscription import Asked, Subscription, create, monitor, subscription_of
from collectors.opcua.wire import NOTHING, Publication, Sample
from collectors.polling import poll
from collectors.probing import Probes
from common.clock import monotonic_ns, monotonic_s, now_ns
from common.errors import SourceUnavailable
from common.log import get_log
from common.records import Quality, Scan, quality_name

PROBE_S = 2.0
"""A server that published nothing for this long is asked whether it lives."""
ARRIVALS_WAITING_MAX = 100
"""Beyond it the server is not asked for more; its own queues fill, and mark what they lose."""
_NO_SUBSCRIPTIONS = (
    uaerrors.BadServiceUnsupported,
    uaerrors.BadTooManySubscriptions,
    uaerrors.BadNotImplemented,
    uaerrors.BadNotSupported,
    uaerrors.BadRequestTypeInvalid,
)
"""How a server says that a group can only be polled."""

T = TypeVar("T")

log = get_log(__name__)


class Arrival(NamedTuple):
    """What came of one group at one instant."""

    group: int
    read_at_ns: int
    monotonic_ns: int
    changes: list[tuple[int, Sample]]


class OpcuaSession:
    """Subscriptions and polled groups on one connection (contract.py: Session)."""

    def __init__(self, client: Client, memory: Memory) -> None:
        self._memory, self._settings = memory, memory.settings
        self._link = Link(client, memory.reads, memory.creates)
        self._subscriptions: list[Subscription] = []
        self._by_id: dict[int, Subscription] = {}
        self._arrived: asyncio.Queue[Arrival | Scan | None] = asyncio.Queue()
        """Bounded by _ready; None is the last: something has ended."""
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []
        self._publisher = Publisher(self._link, self._take, self._on_publishing_end, self._ready)
        self._facts = Facts((), None, 0, 0)
        self._definitions = Definitions()
        self._probes = Probes()
        self.resumable = False
        """True when the connection was cut, and the server may keep what we had there."""
        client.connection_lost_callback = self._on_connection_lost

    async def open(self) -> None:
        """Subscribe to every group, or see that it must be polled. Raises the library's errors."""
        memory = self._memory
        self._facts = await self._link.facts()
        memory.reads.lower(self._facts.nodes_per_read)
        memory.creates.lower(self._facts.items_per_call)
        memory.namespaces.take(self._facts.namespaces)
        await self._learn_structures()
        numbers = range(len(self._settings.groups))
        polled = list(numbers) if self._settings.config.mode == "poll" else []
        wanted = [
            subscription_of(self._settings, number, memory.items[number])
            for number in numbers
            if number not in polled
        ]
        standing, memory.standing = memory.standing, None
        missed = await resume(self._link, standing, self._facts, wanted)
        for subscription in wanted:
            if subscription.number in missed:
                self._adopt(subscription)
                for publication in missed[subscription.number]:
                    self._put(subscription.number, publication.changes)
            elif not await self._subscribe(subscription):
                polled.append(subscription.number)
        if self._subscriptions:
            self._publisher.start(len(self._subscriptions))
        self._start(self._watching())
        if polled:
            self._start(self._polling(polled))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.append(task)
        task.add_done_callback(lambda _: self._arrived.put_nowait(None))

    def stop(self) -> None:
        """Stop watching; scans ends."""
        self._publisher.stop()
        for task in self._tasks:
            task.cancel()
            if task.done() and not task.cancelled():
                task.exception()  # Known to scans, or nobody was left to care.
        if self.resumable:
            self._memory.standing = standing_of(self._facts, self._subscriptions)

    async def scans(self) -> AsyncGenerator[Scan, None]:
        """Yield what arrives; after connect, first the value of every tag."""
        while (arrival := await self._arrived.get()) is not None:
            if isinstance(arrival, Scan):
                yield arrival
                continue
            with as_unavailable(self._settings.config):
                scans = self._scans_of(arrival)
            for scan in scans:
                yield scan
        for task in self._tasks:
            if task.done():
                await task  # Raises why it has ended.

    def _scans_of(self, arrival: Arrival) -> list[Scan]:
        memory, plan = self._memory, self._settings.groups[arrival.group].plan
        found = notified(
            plan,
            memory.items[arrival.group],
            arrival.changes,
            memory.ledger,
            self._definitions,
            doubtful=memory.clock.doubtful,
        )
        return gather(plan, found, read_at_ns=arrival.read_at_ns, monotonic_ns=arrival.monotonic_ns)

    async def _learn_structures(self) -> None:
        """Ask for the types of what tags want members of; a server may not describe them."""
        nodes = [
            node
            for items in self._memory.items
            for item in items
            if item.structured
            and isinstance(node := self._memory.namespaces.node_of(item.address), ua.NodeId)
        ]
        if nodes:
            try:
                await self._definitions.learn(nodes, self._link.values, self._link.supertypes)
            except (UaError, *MALFORMED) as error:
                self._memory.ledger.note_undescribed(self._settings.device, error)

    def _adopt(self, subscription: Subscription) -> None:
        self._subscriptions.append(subscription)
        self._by_id[subscription.id] = subscription

    async def _subscribe(self, subscription: Subscription) -> bool:
        """Create a subscription with its items; False when the group must be polled."""
        try:
            await create(self._link, subscription, self._memory.ledger)
        except _NO_SUBSCRIPTIONS as error:
            if self._settings.config.mode == "subscribe":
                raise
            text = "the server gives no subscription; its tags are polled"
            self._memory.ledger.note_revised(subscription.plan, quality_name(error.code), text, [])
            return False
        self._adopt(subscription)
        await self._monitor(subscription, range(len(subscription.items)))
        return True

    async def _monitor(self, subscription: Subscription, indexes: Iterable[int]) -> None:
        """Ask for the items' nodes; whoever is refused becomes an arrival of Bad tags."""
        ledger, items, wanted = self._memory.ledger, subscription.items, list(indexes)
        asked, refused = [], {}
        for index in wanted:
            node = self._memory.namespaces.node_of(items[index].address)
            if isinstance(node, ua.NodeId):
                asked.append(Asked(index, node))
            else:
                refused[index] = node
        if ledger.unparsable and asked:
            # Each value that nobody can parse would end every publication: none is asked for.
            read = [Wanted(each.node, items[each.number].address.index_range) for each in asked]
            samples = await self._link.read(read)
            bad = {
                each.number
                for each, sample in zip(asked, samples, strict=True)
                if sample is UNREADABLE
            }
            refused |= dict.fromkeys(bad, Quality.BAD_DECODING_ERROR)
            asked = [each for each in asked if each.number not in bad]
        subscription.expect(each.number for each in asked)
        if asked:
            refused |= await monitor(self._link, subscription, asked, self._settings, ledger)
        subscription.awaited -= refused.keys()
        self._note_refused(subscription.number, wanted, refused)
        self._put_codes(subscription.number, refused)

    def _note_refused(self, group: int, asked: Iterable[int], refused: dict[int, int]) -> None:
        items, plan = self._memory.items[group], self._settings.groups[group].plan
        columns = {column: code for n, code in refused.items() for column in items[n].columns}
        asked_columns = [column for n in asked for column in items[n].columns]
        self._memory.ledger.note_refused(plan, asked_columns, columns)
        if refused:
            self._probes.start()

    def _put(self, group: int, changes: list[tuple[int, Sample]]) -> None:
        if changes:
            self._arrived.put_nowait(Arrival(group, now_ns(), monotonic_ns(), changes))

    def _put_codes(self, group: int, codes: dict[int, int]) -> None:
        """Tell consumers of items that have no value, and why."""
        self._put(group, [(n, Sample(None, NOTHING, code, None)) for n, code in codes.items()])

    async def _ready(self) -> None:
        while self._arrived.qsize() >= ARRIVALS_WAITING_MAX:
            await asyncio.sleep(0.01)
            for each in self._subscriptions:
                each.hear()

    def _take(self, subscription_id: int, publication: Publication) -> None:
        subscription = self._by_id.get(subscription_id)
        if subscription is None:
            return  # Of one that was given up.
        subscription.hear()
        subscription.unproven = False
        if subscription.awaited:
            subscription.awaited.difference_update(n for n, _ in publication.changes)
        self._put(subscription.number, publication.changes)
        if publication.ended is not None:
            name = quality_name(publication.ended)
            self._lose(f"the server ended the subscription: {name}")
        if publication.has_data:
            last, subscription.sequence = subscription.sequence, publication.sequence
            if publication.sequence != last % 0xFFFFFFFF + 1:
                self._lose(f"publications {last} to {publication.sequence} were lost on the way")

    def _on_publishing_end(self, reason: str, why: End) -> None:
        self._memory.ledger.unparsable |= why == "malformed"
        self._lose(reason, resumable=why == "cut")

    async def _on_connection_lost(self, error: Exception) -> None:
        self._lose(f"the server closed the connection ({error})", resumable=True)

    def _lose(self, reason: str, *, resumable: bool = False) -> None:
        if not self._lost.done():
            self.resumable = resumable
            self._lost.set_result(reason)

    async def _watching(self) -> None:
        """Return never; raise SourceUnavailable as soon as the connection cannot be trusted."""
        config = self._settings.config
        observe_at_s = monotonic_s()
        while True:
            with as_unavailable(config):
                now_s = monotonic_s()
                if now_s >= observe_at_s:
                    observe_at_s = now_s + OBSERVE_EVERY_S
                    await self._bounded(self._observe())
                elif self._subscriptions and all(
                    now_s - each.heard_s > PROBE_S for each in self._subscriptions
                ):
                    await self._bounded(self._link.probe())
                if self._probes.due():
                    await self._bounded(self._retry_refused())
                await self._bounded(self._see_to_late())
            for each in self._subscriptions:
                silent_s = monotonic_s() - each.heard_s
                if silent_s > each.silence_limit_s and not self._arrived.qsize():
                    text = f"group {each.plan.group} heard nothing for {silent_s:.0f} s"
                    raise SourceUnavailable(f"{config.endpoint}: {text}, not even a keep-alive")
            await asyncio.wait([self._lost], timeout=PROBE_S)
            if self._lost.done():
                raise SourceUnavailable(f"{config.endpoint}: {self._lost.result()}")

    async def _bounded(self, question: Awaitable[T]) -> T:
        """Await answers of the server; when none comes, the connection counts as cut."""
        try:
            return await question
        except OSError:
            self.resumable = True
            raise

    async def _observe(self) -> None:
        """Compare the clocks, and see whether the namespaces are still what they were."""
        names, time = await self._link.namespaces_and_time()
        clock, device = self._memory.clock, self._settings.device
        if time.device_at_ns and clock.observe(time.device_at_ns, *time[1:]):
            text = (
                "the server's clock, or the gateway's, has jumped; its times are Uncertain for now"
            )
            log.warning(text, device=device, offset_s=round((clock.offset_ns or 0) / 1e9, 3))
        known = self._facts.namespaces
        if names != known:
            if names[: len(known)] != known:
                self._lose("the server has renumbered its namespaces")
                return
            self._facts = self._facts._replace(namespaces=names)
            self._memory.namespaces.take(names)
            await self._retry_refused()

    async def _retry_refused(self) -> None:
        refused = self._memory.ledger.refused
        for subscription in self._subscriptions:
            items, name = subscription.items, subscription.plan.group
            again = [n for n, item in enumerate(items) if (name, item.targets[0].column) in refused]
            if again:
                await self._monitor(subscription, again)
        if not refused:
            self._probes.settled()

    async def _see_to_late(self) -> None:
        for each in list(self._subscriptions):
            if each.awaited and monotonic_s() >= each.await_until_s:
                await self._resolve_awaited(each)
            if each.unproven and monotonic_s() >= each.prove_until_s:
                await self._replace(each)

    async def _resolve_awaited(self, subscription: Subscription) -> None:
        """See to items that were accepted, and for which no first value came."""
        indexes = sorted(subscription.awaited)
        subscription.awaited.clear()
        if not subscription.resumed:
            columns = [column for n in indexes for column in subscription.items[n].columns]
            self._memory.ledger.note_silent(subscription.plan, columns)
            waiting = dict.fromkeys(indexes, int(Quality.BAD_WAITING_FOR_INITIAL_DATA))
            self._put_codes(subscription.number, waiting)
        else:
            # The server goes on with the subscription, but does not repeat what did not change.
            self._put(subscription.number, await self._read(subscription.number, indexes))

    async def _replace(self, subscription: Subscription) -> None:
        """Give up a subscription that was taken over and stays silent, for a new one.

        What changed since is not known: the tags are BadNoCommunication in between.
        """
        everything = range(len(subscription.items))
        self._put_codes(
            subscription.number, dict.fromkeys(everything, int(Quality.BAD_NO_COMMUNICATION))
        )
        self._subscriptions.remove(subscription)
        del self._by_id[subscription.id]
        items = self._memory.items[subscription.number]
        if not await self._subscribe(subscription_of(self._settings, subscription.number, items)):
            self._start(self._polling([subscription.number]))
        # Not before: a server without any subscription refuses our publish requests.
        with suppress(UaError):
            await self._link.forget(subscription.id)

    async def _read(self, group: int, numbers: Iterable[int]) -> list[tuple[int, Sample]]:
        items, namespaces = self._memory.items[group], self._memory.namespaces
        return await read_items(self._link, items, numbers, namespaces)

    async def _polling(self, groups: list[int]) -> None:
        """Return never; read the groups, each at its period. Raises SourceUnavailable."""

        async def read(number: int) -> Scan:
            await self._ready()
            group = groups[number]
            everything = range(len(self._memory.items[group]))
            with as_unavailable(self._settings.config):
                changes = await self._bounded(self._read(group, everything))
                self._note_refused(group, everything, refused_in(changes))
                # Every column is in it once, so that it is one scan.
                [scan] = self._scans_of(Arrival(group, now_ns(), monotonic_ns(), changes))
            return scan

        plans = [self._settings.groups[group].plan for group in groups]
        async for scan in poll(plans, read, self._count_overruns):
            self._arrived.put_nowait(scan)

    def _count_overruns(self, periods: int) -> None:
        self._memory.missed_periods += periods
