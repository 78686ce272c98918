"""One OPC UA server, as the house collects from it: connecting, and leaving in order."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from asyncua.client.client import Client

from collectors.deviceclock import DeviceClock
from collectors.opcua.client import ERRORS, as_unavailable, new_client
from collectors.opcua.config import OpcuaSettings
from collectors.opcua.counting import metered
from collectors.opcua.memory import Memory
from collectors.opcua.session import OpcuaSession
from collectors.traffic import Traffic
from common.records import Plan

DISCONNECT_S = 1.0


class OpcuaCollector:
    """One configured server (contract.py: Collector)."""

    def __init__(self, settings: OpcuaSettings) -> None:
        self._settings = settings
        self.traffic = Traffic()
        self.clock = DeviceClock()
        self._memory = Memory.of(settings, self.clock)

    @property
    def plans(self) -> tuple[Plan, ...]:
        """One plan per group."""
        return tuple(group.plan for group in self._settings.groups)

    @property
    def overruns(self) -> int:
        """Publications in which the server's queue of a tag had overflowed, and missed polls."""
        return self._memory.ledger.overflows + self._memory.missed_periods

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[OpcuaSession]:
        """Open a session with every group subscribed or polled; see contract.py."""
        config = self._settings.config
        with as_unavailable(config):
            client = await new_client(config)
            metered(client, self.traffic)
            session = OpcuaSession(client, self._memory)
        try:
            with as_unavailable(config):
                await client.connect()
                await session.open()
            yield session
        finally:
            session.stop()
            with suppress(*ERRORS):
                async with asyncio.timeout(DISCONNECT_S):
                    await _leave(client, keep_subscriptions=session.resumable)
            client.disconnect_socket()


async def _leave(client: Client, *, keep_subscriptions: bool) -> None:
    if keep_subscriptions:
        await client.uaclient.session.close_session(delete_subscriptions=False)
    await client.disconnect()


def build_collector(settings: object) -> OpcuaCollector:
    """Return the collector of one compiled device (contract.py: Build)."""
    if not isinstance(settings, OpcuaSettings):
        raise TypeError(f"expected OpcuaSettings, found {type(settings).__name__}")
    # The library logs a traceback for every outage; the runner says it once, in words.
    logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)
    return OpcuaCollector(settings)
