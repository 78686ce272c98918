"""Connecting to a PLC and taking its scans, bounded as a whole."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from collectors.s7.config import S7Settings
from collectors.s7.device import build_collector
from common.records import Scan

Compile = Callable[..., S7Settings]


@asynccontextmanager
async def reading(settings: S7Settings) -> AsyncIterator[AsyncGenerator[Scan, None]]:
    """Connect, and give the scans; bounded as a whole."""
    async with asyncio.timeout(20):
        async with build_collector(settings).connect() as session, aclosing(session.scans()) as it:
            yield it
