"""The frame of every process: one copy of each role, signals, exit codes, last words."""

import asyncio
import ctypes
import fcntl
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from common.errors import AlreadyRunning, ConfigError, TailraceError
from common.log import get_log, start_logging

EXIT_STOPPED = 0
EXIT_CRASHED = 1
EXIT_CONFIG = 78
"""sysexits.h EX_CONFIG: a person must change a file."""

SUPERVISOR = "TAILRACE_SUPERVISOR"
"""The variable by which `tailrace run` tells its process id: it becomes supervisord."""

_PR_SET_PDEATHSIG = 1
_held: list[int] = []
"""File descriptors of held roles; closed by the kernel with the process, however it ends."""

log = get_log(__name__)


class StopRequested(BaseException):
    """SIGTERM or SIGINT arrived while the process waited for something that may take long."""


class Stopping:
    """Whether the process was told to stop; for the processes that work without an event loop.

    A signal only sets the flag, so that no commit is torn. Inside `interruptible` (a blocking
    wait, nothing in hand) it raises StopRequested as well.
    """

    def __init__(self) -> None:
        self.requested = False
        self._interruptible = False
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        self.requested = True
        if self._interruptible:
            raise StopRequested

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a signal end the block at once by StopRequested."""
        self._interruptible = True
        try:
            if self.requested:
                raise StopRequested
            yield
        finally:
            self._interruptible = False


def make_run_dir(run_dir: Path) -> None:
    """Create the run directory for this user alone. Raises TailraceError for another's."""
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = run_dir.stat().st_uid
    if owner != os.geteuid():
        raise TailraceError(
            f"the run directory {run_dir} belongs to user {owner}, this process runs as user "
            f"{os.geteuid()}: choose another with --run, or change its owner"
        )
    run_dir.chmod(0o700)


def hold_role(run_dir: Path, role: str) -> None:
    """Make this process the only one of its role until it ends. Raises AlreadyRunning.

    supervisord killed with SIGKILL leaves its children running and a restart starts a second
    set; a second bind on an ipc path silently takes it over. So: a lock per role, and a request
    to the kernel for SIGTERM when the parent dies.
    """
    make_run_dir(run_dir)
    descriptor = os.open(run_dir / f"{role}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise AlreadyRunning(f"another {role} already runs on {run_dir}; stop it first") from error
    _held.append(descriptor)
    if os.environ.get("SUPERVISOR_ENABLED"):
        # Not our parent of this moment: it may have died while we were being loaded, and an orphan
        # that holds its role would keep the next supervisord from ever starting another.
        parent = int(os.environ.get(SUPERVISOR, os.getppid()))
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            raise AlreadyRunning("supervisord is gone; this process would be an orphan")


def main(process: str, run: Callable[[], Coroutine[Any, Any, None] | None]) -> NoReturn:
    """Run until told to stop, then exit with one of the three codes above.

    `run` is either a coroutine function, cancelled by SIGTERM or SIGINT, or a plain function
    that watches a `Stopping` of its own and returns.
    """
    start_logging(process)
    try:
        work = run()
        if work is not None:
            asyncio.run(_until_told(work))
    except ConfigError as error:
        for finding in error.findings:
            log.critical("configuration rejected", finding=finding)
        sys.exit(EXIT_CONFIG)
    except (StopRequested, KeyboardInterrupt):
        pass
    except TailraceError as error:
        log.critical("stopped by itself", error=error)
        sys.exit(EXIT_CRASHED)
    except Exception:
        log.critical("crashed", exc_info=True)
        sys.exit(EXIT_CRASHED)
    log.info("stopped")
    sys.exit(EXIT_STOPPED)


async def _until_told(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    told = False

    def stop() -> None:
        nonlocal told
        told = True
        task.cancel()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop)
    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not told:
            raise
