"""One connected server, and the services that we use of it: reading and subscriptions.

asyncua's own subscription objects, publish loop, watchdog and reconnect are not used: each of
them can lose data or stand still without a word.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.ua_binary import struct_from_binary
from asyncua.ua.uaerrors import UaError

from collectors.opcua.batches import BatchLimit, in_batches
from collectors.opcua.client import MALFORMED
from collectors.opcua.decode import instant_ns
from collectors.opcua.structures import supertype_query
from collectors.opcua.wire import (
    NOTHING,
    Publication,
    Sample,
    answered,
    message_in,
    publication_in,
    samples_in,
)
from common.clock import now_ns
from common.records import Quality

UNREADABLE = Sample(None, NOTHING, Quality.BAD_DECODING_ERROR, None)
"""Of a value that nobody can parse."""
_NAMESPACES = ua.NodeId(ua.Int32(2255))
_START_TIME, _CURRENT_TIME = ua.NodeId(ua.Int32(2257)), ua.NodeId(ua.Int32(2258))
_STATE = ua.NodeId(ua.Int32(2259))
_MAX_NODES_PER_READ, _MAX_ITEMS_PER_CALL = ua.NodeId(ua.Int32(11705)), ua.NodeId(ua.Int32(11714))
_SAME_CLOCK_NS = 1_500_000_000
_COARSE_NS = 1_000_000_000
"""Many servers renew CurrentTime once a second."""


class Wanted(NamedTuple):
    """A value to read."""

    node: ua.NodeId
    index_range: str = ""


class Facts(NamedTuple):
    """What a server says of itself."""

    namespaces: tuple[str, ...]
    started: Any
    """When it was started; None where it does not tell."""
    nodes_per_read: int
    items_per_call: int
    """0: it names no limit."""


class ServerTime(NamedTuple):
    """What the server's clock showed, between two instants of ours."""

    device_at_ns: int | None
    asked_at_ns: int
    answered_at_ns: int
    resolution_ns: int


class Link:
    """Requests to one server. Every method raises client.py's ERRORS, unless it says otherwise."""

    def __init__(self, client: Client, reads: BatchLimit, creates: BatchLimit) -> None:
        self._client = client
        self._services = client.uaclient.session
        self._reads, self._creates = reads, creates

    async def facts(self) -> Facts:
        """Ask for the namespaces, the server's start, and its limits."""
        nodes = (_NAMESPACES, _START_TIME, _MAX_NODES_PER_READ, _MAX_ITEMS_PER_CALL)
        found = await self.values(nodes)
        namespaces = found[0] if isinstance(found[0], list) else []
        limits = [each if isinstance(each, int) else 0 for each in found[2:]]
        return Facts(tuple(map(str, namespaces)), found[1], *limits)

    async def probe(self) -> None:
        """Ask whether the server lives."""
        await self.values([_STATE])

    async def namespaces_and_time(self) -> tuple[tuple[str, ...], ServerTime]:
        """Ask for what may change while connected."""
        wanted = [Wanted(_NAMESPACES), Wanted(_CURRENT_TIME)]
        asked_at_ns = now_ns()
        answer = await self._ask(_read_request(wanted))
        answered_at_ns = now_ns()
        response = struct_from_binary(ua.ReadResponse, answer)
        response.ResponseHeader.ServiceResult.check()
        namespaces, current = (each.Value.Value for each in response.Results)
        names = tuple(map(str, namespaces)) if isinstance(namespaces, list) else ()
        device_at_ns = instant_ns(current) if isinstance(current, datetime) else None
        resolution_ns = _COARSE_NS
        # The time of the answer itself is finer, where it comes from the same clock.
        said_ns = instant_ns(response.ResponseHeader.Timestamp)
        if device_at_ns and said_ns and abs(said_ns - device_at_ns) < _SAME_CLOCK_NS:
            device_at_ns, resolution_ns = said_ns, 0
        return names, ServerTime(device_at_ns, asked_at_ns, answered_at_ns, resolution_ns)

    async def values(
        self, nodes: Sequence[ua.NodeId], attribute: AttributeIds = AttributeIds.Value
    ) -> list[Any]:
        """Return one attribute of each node as asyncua has it; None where there is none."""

        async def read(part: Sequence[ua.NodeId]) -> list[Any]:
            found = await self._services.read(
                ua.ReadParameters(
                    NodesToRead=[ua.ReadValueId(NodeId=n, AttributeId=attribute) for n in part]
                )
            )
            return [each.Value.Value if each.Value else None for each in found]

        return await in_batches(nodes, self._reads, read)

    async def supertypes(self, types: Sequence[ua.NodeId]) -> list[ua.NodeId | None]:
        """Return what each data type is a subtype of; None where the server does not tell."""

        async def browse(part: Sequence[ua.NodeId]) -> list[ua.NodeId | None]:
            parameters = ua.BrowseParameters(
                RequestedMaxReferencesPerNode=1,
                NodesToBrowse=[supertype_query(each) for each in part],
            )
            found = await self._services.browse(parameters)
            return [each.References[0].NodeId if each.References else None for each in found]

        return await in_batches(types, self._reads, browse)

    async def read(self, wanted: Sequence[Wanted]) -> list[Sample]:
        """Read values with their status and time; what nobody can parse is UNREADABLE."""
        return await in_batches(wanted, self._reads, self._read_some)

    async def _read_some(self, wanted: Sequence[Wanted]) -> list[Sample]:
        _, body = answered(await self._ask(_read_request(wanted)))
        try:
            return samples_in(body, len(wanted))
        except (UaError, *MALFORMED):
            if len(wanted) == 1:
                return [UNREADABLE]
        half = len(wanted) // 2
        return await self._read_some(wanted[:half]) + await self._read_some(wanted[half:])

    async def create_subscription(
        self, parameters: ua.CreateSubscriptionParameters
    ) -> ua.CreateSubscriptionResult:
        """Create one; asyncua's own method would start its publish loop."""
        request = ua.CreateSubscriptionRequest(Parameters=parameters)
        response = struct_from_binary(ua.CreateSubscriptionResponse, await self._ask(request))
        response.ResponseHeader.ServiceResult.check()
        result: ua.CreateSubscriptionResult = response.Parameters
        return result

    async def create_items(
        self, subscription: int, items: Sequence[ua.MonitoredItemCreateRequest]
    ) -> list[ua.MonitoredItemCreateResult]:
        """Create monitored items; each result has its own status."""

        async def create(
            part: Sequence[ua.MonitoredItemCreateRequest],
        ) -> list[ua.MonitoredItemCreateResult]:
            results = await self._services.create_monitored_items(
                ua.CreateMonitoredItemsParameters(
                    SubscriptionId=subscription,
                    TimestampsToReturn=ua.TimestampsToReturn.Both,
                    ItemsToCreate=list(part),
                )
            )
            if len(results) != len(part):
                raise UaError(f"{len(part)} items were asked for, {len(results)} came")
            return results

        return await in_batches(items, self._creates, create)

    async def transfer(self, subscriptions: Sequence[int]) -> list[ua.TransferResult]:
        """Take over subscriptions of a lost session; each result has its own status."""
        return await self._services.transfer_subscriptions(
            ua.TransferSubscriptionsParameters(list(subscriptions), SendInitialValues=True)
        )

    async def republish(self, subscription: int, sequence: int) -> Publication:
        """Ask again for a message that was sent and not acknowledged."""
        request = ua.RepublishRequest()
        request.Parameters.SubscriptionId = subscription
        request.Parameters.RetransmitSequenceNumber = sequence
        _, body = answered(await self._ask(request))
        return message_in(body)

    async def forget(self, subscription: int) -> None:
        """End a subscription; its refusal is of no interest."""
        await self._services.delete_subscriptions([subscription])

    async def publish(
        self, acknowledged: list[ua.SubscriptionAcknowledgement]
    ) -> tuple[int, Publication]:
        """Wait for the next message of any subscription, for as long as it takes."""
        request = ua.PublishRequest()
        request.Parameters.SubscriptionAcknowledgements = acknowledged
        _, body = answered(await self._ask(request, timeout=0))
        return publication_in(body)

    async def _ask(self, request: Any, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - asyncua's own, 0 for none
        protocol = self._client.uaclient.protocol
        if protocol is None:
            raise ConnectionError("the connection is closed")
        return await protocol.send_request(request, timeout)


def _read_request(wanted: Sequence[Wanted]) -> ua.ReadRequest:
    request = ua.ReadRequest()
    request.Parameters.MaxAge = 0
    request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
    request.Parameters.NodesToRead = [
        ua.ReadValueId(
            NodeId=each.node, AttributeId=AttributeIds.Value, IndexRange=each.index_range or None
        )
        for each in wanted
    ]
    return request
