"""Items of a group, read: for polling, and where a subscription does not repeat itself."""

from collections.abc import Iterable, Sequence

from asyncua import ua
from asyncua.ua.status_codes import StatusCodes

from collectors.opcua.items import Item
from collectors.opcua.link import Link, Wanted
from collectors.opcua.namespaces import Namespaces
from collectors.opcua.wire import NOTHING, Sample
from common.records import Quality

_REFUSALS = frozenset(
    {
        StatusCodes.BadNodeIdUnknown,
        StatusCodes.BadNodeIdInvalid,
        StatusCodes.BadAttributeIdInvalid,
        StatusCodes.BadNotReadable,
        StatusCodes.BadUserAccessDenied,
        StatusCodes.BadIndexRangeInvalid,
        Quality.BAD_CONFIGURATION_ERROR,
        Quality.BAD_DECODING_ERROR,
    }
)
"""What only a person mends; every other Bad status is the value's own affair."""


async def read_items(
    link: Link, items: Sequence[Item], numbers: Iterable[int], namespaces: Namespaces
) -> list[tuple[int, Sample]]:
    """Return samples by item; of one that has no node a sample with a Bad status. Raises ERRORS."""
    found: list[tuple[int, Sample]] = []
    asked: list[int] = []
    wanted: list[Wanted] = []
    for number in numbers:
        address = items[number].address
        node = namespaces.node_of(address)
        if isinstance(node, ua.NodeId):
            asked.append(number)
            wanted.append(Wanted(node, address.index_range))
        else:
            found.append((number, Sample(None, NOTHING, node, None)))
    return found + list(zip(asked, await link.read(wanted), strict=True))


def refused_in(changes: Iterable[tuple[int, Sample]]) -> dict[int, int]:
    """Return the items that the server does not give, with their statuses."""
    return {number: sample.status for number, sample in changes if sample.status in _REFUSALS}
