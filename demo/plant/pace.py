"""What the three machines share: steady counting, slow movement, the word `ready`."""

import asyncio
import math
from collections.abc import AsyncIterator

MOVE_EVERY_MS = 200
"""How often a machine's slowly changing values are brought up to date."""


async def counts(every_ms: int) -> AsyncIterator[int]:
    """Yield 1, 2, 3 … one per period. A late count follows at once; none is left out."""
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    count = 0
    while True:
        count += 1
        await asyncio.sleep(max(0.0, started_s + count * every_ms / 1000 - loop.time()))
        yield count


async def moments() -> AsyncIterator[float]:
    """Yield the seconds since the start, now and every MOVE_EVERY_MS."""
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    while True:
        yield loop.time() - started_s
        await asyncio.sleep(MOVE_EVERY_MS / 1000)


def wave(elapsed_s: float, middle: float, swing: float, period_s: float) -> float:
    """Return a value that swings slowly and repeatably around `middle`."""
    return middle + swing * math.sin(2 * math.pi * elapsed_s / period_s)


def announce(port: int) -> None:
    """Tell whoever started us, on standard output, that we listen."""
    print(f"ready {port}", flush=True)  # noqa: T201 - the contract with the one who waits
