"""One group at the server: its subscription and items, and what the server made of them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes

from collectors.opcua.client import LIFETIME_S
from collectors.opcua.config import OpcuaConfig, OpcuaSettings
from collectors.opcua.items import Item
from collectors.opcua.ledger import Ledger
from collectors.opcua.link import Link
from collectors.opcua.notification import SEVERITY_AND_CODE
from common.clock import monotonic_s
from common.records import Plan, quality_name

KEEP_ALIVE_S = 5.0
KEEP_ALIVES_MISSED = 3
"""A subscription that was silent for this many keep-alives is dead, whatever the socket says."""
SILENCE_LEAST_S = 2.0
"""Of one keep-alive, however short the server made it."""
NOTIFICATIONS_PER_PUBLISH = 10_000

_NEVER_S = 86_400.0
_FILTER_REFUSED = frozenset(
    {
        StatusCodes.BadMonitoredItemFilterInvalid,
        StatusCodes.BadMonitoredItemFilterUnsupported,
        StatusCodes.BadFilterNotAllowed,
        StatusCodes.BadDeadbandFilterInvalid,
    }
)
_DEADBAND = {"absolute": ua.DeadbandType.Absolute, "percent": ua.DeadbandType.Percent}


class Asked(NamedTuple):
    """An item, and the node that it is at this server."""

    number: int
    """Of the group's items; the client handle that the server reports."""
    node: ua.NodeId


@dataclass(eq=False)
class Subscription:
    """One group at the server, as the session has it."""

    number: int
    """Of the group."""
    plan: Plan
    items: tuple[Item, ...]
    publishing_ms: float
    sampling_ms: float
    queue_size: int
    id: int = 0
    silence_limit_s: float = _NEVER_S
    heard_s: float = field(default_factory=monotonic_s)
    sequence: int = 0
    """Of the last publication with data. The first has 1 (10000-4, 5.14.1.1), as has the one
    that follows 2**32 - 1."""
    awaited: set[int] = field(default_factory=set)
    """Items that the server accepted and has not reported yet."""
    await_until_s: float = field(default_factory=lambda: monotonic_s() + _NEVER_S)
    resumed: bool = False
    """Taken over from a lost session."""
    unproven: bool = False
    """Resumed, and nothing was heard of it since."""
    prove_until_s: float = _NEVER_S
    """When an unproven one is given up."""

    def hear(self) -> None:
        """Note that the server spoke of it."""
        self.heard_s = monotonic_s()

    def expect(self, items: Iterable[int], within_s: float | None = None) -> None:
        """Wait for the first value of some items, by default as long as silence may last."""
        self.awaited.update(items)
        self.await_until_s = monotonic_s() + (within_s or self.silence_limit_s)


def subscription_of(settings: OpcuaSettings, number: int, items: tuple[Item, ...]) -> Subscription:
    """Return a group's subscription as it is wanted; the server knows nothing of it yet."""
    group = settings.groups[number]
    publishing_ms, sampling_ms, queue_size = settings.intervals(group)
    return Subscription(number, group.plan, items, publishing_ms, sampling_ms, queue_size)


async def create(link: Link, subscription: Subscription, ledger: Ledger) -> None:
    """Create the subscription without items. Raises ERRORS."""
    publishing_ms = subscription.publishing_ms
    keep_alives = max(1, round(KEEP_ALIVE_S * 1000 / publishing_ms))
    lifetime = max(KEEP_ALIVES_MISSED * keep_alives, round(LIFETIME_S * 1000 / publishing_ms))
    result = await link.create_subscription(
        ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=publishing_ms,
            RequestedLifetimeCount=lifetime,
            RequestedMaxKeepAliveCount=keep_alives,
            MaxNotificationsPerPublish=NOTIFICATIONS_PER_PUBLISH,
            PublishingEnabled=True,
        )
    )
    subscription.id, subscription.sequence = result.SubscriptionId, 0
    revised_ms = result.RevisedPublishingInterval
    keep_alive_s = revised_ms * result.RevisedMaxKeepAliveCount / 1000
    subscription.silence_limit_s = KEEP_ALIVES_MISSED * max(keep_alive_s, SILENCE_LEAST_S)
    subscription.hear()
    if revised_ms > publishing_ms:
        text = "the server publishes less often than asked; raise the group's period_ms"
        what = f"every {revised_ms:g} ms instead of {publishing_ms:g} ms"
        ledger.note_revised(subscription.plan, what, text, [])


async def monitor(
    link: Link,
    subscription: Subscription,
    asked: Sequence[Asked],
    settings: OpcuaSettings,
    ledger: Ledger,
) -> dict[int, int]:
    """Create the items; return those that the server refuses, with their Bad codes.

    An item whose deadband the server refuses is created without. Raises ERRORS.
    """
    filters = [_deadband(subscription.items[each.number], settings.config) for each in asked]
    requests = [
        _request(subscription, each, deadband)
        for each, deadband in zip(asked, filters, strict=True)
    ]
    results = await link.create_items(subscription.id, requests)
    unfiltered = [
        n
        for n, result in enumerate(results)
        if filters[n] and result.StatusCode.value in _FILTER_REFUSED
    ]
    if unfiltered:
        columns = _columns(subscription, [asked[n] for n in unfiltered])
        text = "the server applies no deadband to these tags; every change is reported"
        name = quality_name(results[unfiltered[0]].StatusCode.value)
        ledger.note_revised(subscription.plan, name, text, columns)
        again = [_request(subscription, asked[n], None) for n in unfiltered]
        for n, result in zip(
            unfiltered, await link.create_items(subscription.id, again), strict=True
        ):
            results[n] = result
    _note_revised(subscription, asked, results, ledger)
    return {
        each.number: result.StatusCode.value & SEVERITY_AND_CODE
        for each, result in zip(asked, results, strict=True)
        if not result.StatusCode.is_good()
    }


def _deadband(item: Item, config: OpcuaConfig) -> ua.DataChangeFilter | None:
    kind, value = config.server_deadband, item.deadband
    if kind == "percent":
        value = config.server_deadband_percent
    if kind == "off" or not item.numeric or not value or not math.isfinite(value):
        return None
    return ua.DataChangeFilter(
        Trigger=ua.DataChangeTrigger.StatusValue,
        DeadbandType=_DEADBAND[kind],
        DeadbandValue=value,
    )


def _request(
    subscription: Subscription, asked: Asked, deadband: ua.DataChangeFilter | None
) -> ua.MonitoredItemCreateRequest:
    return ua.MonitoredItemCreateRequest(
        ItemToMonitor=ua.ReadValueId(
            NodeId=asked.node,
            AttributeId=AttributeIds.Value,
            IndexRange=subscription.items[asked.number].address.index_range or None,
        ),
        MonitoringMode=ua.MonitoringMode.Reporting,
        RequestedParameters=ua.MonitoringParameters(
            ClientHandle=asked.number,
            SamplingInterval=subscription.sampling_ms,
            Filter=deadband,
            QueueSize=subscription.queue_size,
            DiscardOldest=True,
        ),
    )


def _note_revised(
    subscription: Subscription,
    asked: Sequence[Asked],
    results: Sequence[ua.MonitoredItemCreateResult],
    ledger: Ledger,
) -> None:
    """Log once for each group what the server does in another way than asked."""
    slow, short = [], []
    for each, result in zip(asked, results, strict=True):
        if result.StatusCode.is_good():
            if 0 < subscription.sampling_ms < result.RevisedSamplingInterval:
                slow.append((result.RevisedSamplingInterval, each))
            if result.RevisedQueueSize < subscription.queue_size:
                short.append((result.RevisedQueueSize, each))
    if slow:
        what = f"every {max(slow)[0]:g} ms instead of {subscription.sampling_ms:g} ms"
        text = "the server does not sample these tags as fast as asked"
        columns = _columns(subscription, [each for _, each in slow])
        ledger.note_revised(subscription.plan, what, text, columns)
    if short:
        what = f"queue of {min(short)[0]} instead of {subscription.queue_size}"
        text = "the server queues fewer values of these tags than asked; publish more often"
        columns = _columns(subscription, [each for _, each in short])
        ledger.note_revised(subscription.plan, what, text, columns)


def _columns(subscription: Subscription, asked: Iterable[Asked]) -> list[int]:
    return [column for each in asked for column in subscription.items[each.number].columns]
