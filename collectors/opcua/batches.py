"""Many operations by as few requests as the server takes. Learns what that is. Pure of network."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from asyncua.ua import uaerrors

_TOO_MUCH = (
    uaerrors.BadTooManyOperations,
    uaerrors.BadEncodingLimitsExceeded,
    uaerrors.BadRequestTooLarge,
    uaerrors.BadResponseTooLarge,
)

T = TypeVar("T")
R = TypeVar("R")


class BatchLimit:
    """How many operations go into one request; outlives sessions, so that it is learnt once."""

    def __init__(self, most: int) -> None:
        self.most = most

    def lower(self, most: int) -> None:
        """Take a limit that the server tells, where it is lower; 0 means that it has none."""
        if most > 0:
            self.most = min(self.most, most)


async def in_batches(
    operations: Sequence[T], limit: BatchLimit, request: Callable[[Sequence[T]], Awaitable[list[R]]]
) -> list[R]:
    """Return the results of all operations, in their order.

    A request that the server finds too large is halved, and so are all that follow, for good.
    Raises what `request` raises, and the server's refusal of a single operation.
    """
    results: list[R] = []
    while len(results) < len(operations):
        part = operations[len(results) : len(results) + limit.most]
        try:
            results += await request(part)
        except _TOO_MUCH:
            if len(part) == 1:
                raise
            limit.most = len(part) // 2
    return results
