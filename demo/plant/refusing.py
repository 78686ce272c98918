"""What a machine does when somebody asks it to change: it refuses, tells, and ends.

Tailrace reads. A request that would write, call, download, start or stop is therefore a fault of
the gateway, wherever it comes from: the machine answers it by its protocol's own refusal, prints

    write request refused: Modbus function 6 of unit 1

to standard error, and ends with exit code 1, so that neither a demo nor a test can overlook it.
What is not known to be a read counts as a write.
"""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from common.errors import TailraceError

REFUSED = "write request refused: "
GRACE_S = 0.2
"""From the refusal to the end: whoever asked hears the answer."""


class WriteRefused(TailraceError):
    """Somebody asked a machine to change something."""


class Refusals:
    """What was refused. Made inside the machine's event loop; `note` may come from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._told = asyncio.Event()
        self.first = ""
        """The first request that was refused; empty while there is none."""

    def note(self, request: str) -> None:
        """Tell of a request, and let the machine end. One line: the first says enough."""
        if not self.first:
            self.first = request
            print(REFUSED + request, file=sys.stderr, flush=True)  # noqa: T201 - for whoever watches
            self._loop.call_soon_threadsafe(self._told.set)

    async def live(self, *lives: Coroutine[Any, Any, None]) -> None:
        """Run a machine until cancelled. Raises WriteRefused once it was asked to change."""
        try:
            async with asyncio.TaskGroup() as machine:
                tasks = [machine.create_task(life) for life in lives]
                await self._told.wait()
                await asyncio.sleep(GRACE_S)
                for task in tasks:
                    task.cancel()
        finally:
            # Also when told to end in the same moment: exit code 0 would hide it.
            if self.first:
                raise WriteRefused(REFUSED + self.first)


def refused_in(log_file: Path) -> list[str]:
    """Return what a machine says it refused, by the file that its output went to."""
    lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.removeprefix(REFUSED) for line in lines if line.startswith(REFUSED)]
