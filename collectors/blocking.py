"""Calls of a blocking library, off the event loop, each with an absolute limit.

A call that nobody waits for any more, because its limit is over or its caller was cancelled, is
ended from outside: `cut` shuts its socket down, and the thread comes back with an error.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

CUT_STEP_S = 0.02
CUT_STEPS = 50
"""One second in all, until a thread has noticed that its socket is shut down."""

T = TypeVar("T")


class BlockingCalls:
    """One thread, one call after the other."""

    def __init__(self, name: str, cut: Callable[[], None]) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._cut = cut

    async def run(self, work: Callable[[], T], limit_s: float) -> T:
        """Return what `work` returns, or raise what it raises; TimeoutError after `limit_s`.

        Takes a second longer than the limit at most, and than a cancellation.
        """
        future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            async with asyncio.timeout(limit_s):
                return await asyncio.shield(future)
        finally:
            if not future.done():
                await self._end(future)

    def close(self) -> None:
        """Free the thread once its last call has ended."""
        self._thread.shutdown(wait=False)

    async def _end(self, future: "asyncio.Future[T]") -> None:
        for _ in range(CUT_STEPS):
            self._cut()
            await asyncio.wait([future], timeout=CUT_STEP_S)
            if future.done():
                break
        # Whatever it ended with: the caller was told already.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
