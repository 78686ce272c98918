"""Publish requests: several always wait at the server, so that it never has to hold data back.

With one alone, the server can say nothing between its answer and our next request; at high rates
its queues overflow in that time.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

from asyncua import ua
from asyncua.ua import uaerrors
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

from collectors.opcua.client import ERRORS, MALFORMED
from collectors.opcua.link import Link
from collectors.opcua.wire import Publication
from common.records import quality_name

OUTSTANDING_SPARE, OUTSTANDING_MAX = 2, 10
"""Requests beside one for each subscription; a server may refuse more than it likes."""

End = Literal["refused", "malformed", "cut"]
"""Why there is no more: by the server's word, by what nobody can parse, by the connection."""
Take = Callable[[int, Publication], None]
"""Subscription's id, and what the server says of it."""


class Publisher:
    """The publish requests of one session."""

    def __init__(
        self,
        link: Link,
        take: Take,
        lose: Callable[[str, End], None],
        ready: Callable[[], Awaitable[None]],
    ) -> None:
        """`lose(reason, why)` ends the session; `ready` returns when more can be taken."""
        self._link, self._take, self._lose, self._ready = link, take, lose, ready
        self._acknowledged: list[ua.SubscriptionAcknowledgement] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, subscriptions: int) -> None:
        """Keep requests for so many subscriptions outstanding, until stopped."""
        for _ in range(min(subscriptions + OUTSTANDING_SPARE, OUTSTANDING_MAX)):
            task = asyncio.create_task(self._publishing())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Wait for no more."""
        for task in self._tasks:
            task.cancel()

    async def _publishing(self) -> None:
        """Ask, take, and ask again. Answers come in the order in which the server sent them."""
        while True:
            await self._ready()
            acknowledged, self._acknowledged = self._acknowledged, []
            try:
                subscription, publication = await self._link.publish(acknowledged)
                if publication.has_data:
                    self._acknowledge(subscription, publication.sequence)
                self._take(subscription, publication)
            except uaerrors.BadTooManyPublishRequests:
                self._acknowledged += acknowledged
                if len(self._tasks) > 1:
                    return
                await asyncio.sleep(1.0)
            except uaerrors.BadTimeout:
                continue  # It waited as long as it cares to, and has nothing to say.
            except UaStatusCodeError as error:
                self._lose(f"the server publishes no more: {quality_name(error.code)}", "refused")
                return
            except (UaError, *MALFORMED) as error:
                text = f"({type(error).__name__}: {error})"
                self._lose(f"sent a publication that cannot be parsed {text}", "malformed")
                return
            except ERRORS as error:
                self._lose(f"the server closed the connection ({error})", "cut")
                return

    def _acknowledge(self, subscription: int, sequence: int) -> None:
        self._acknowledged.append(
            ua.SubscriptionAcknowledgement(SubscriptionId=subscription, SequenceNumber=sequence)
        )
