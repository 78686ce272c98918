"""The processes that the demo and the tests start: ready, logged, ended, never orphaned."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from common.clock import monotonic_s
from common.errors import TailraceError

LOOPBACK = "127.0.0.1"
READY_TIMEOUT_S = 20.0
"""asyncua needs about 2 s on an idle machine and much longer on a busy one."""
STOP_TIMEOUT_S = 5.0
POLL_S = 0.02
TAIL_LINES = 15

_ROOMS = str(Path(__file__).resolve().parent.parent)
"""Where the house's packages lie: a checkout need not be installed for `python -m demo`."""
_ATTACHED = str(Path(__file__).with_name("attached.py"))


class ChildFailed(TailraceError):
    """A process of the demo ended or never became ready; the text holds the end of its log."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free a moment ago. Another process may take it."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


class Child:
    """One process with its output in a log file. Ends with this process, even by SIGKILL.

    With a `port`, starting means: until it accepts connections there, and never beside another.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log_file: Path,
        *,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log_file = log_file
        self.port = port
        """Where it listens on 127.0.0.1; 0 when that is not known beforehand."""
        self._command = list(command)
        paths = [_ROOMS, *filter(None, [os.environ.get("PYTHONPATH")])]
        # Safe path: a folder named `demo` or `common` where the user stands must not be imported.
        found = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
        self._environment = {**os.environ, **found, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._log_from_bytes = 0

    @property
    def pid(self) -> int:
        """The process's id. Raises ChildFailed when it was never started."""
        if self._process is None:
            raise ChildFailed(f"{self.name} is not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """True from start until the process has ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the process; return at once, or with a `port` when it accepts connections.

        Nothing happens while it runs. Raises ChildFailed, with the end of its log.
        """
        if self.running:
            return self
        if self.port and _accepts(self.port):
            raise ChildFailed(f"port {self.port} of {LOOPBACK} is taken; choose another")
        self._spawn()
        if self.port:
            try:
                self.wait_until(lambda: _accepts(self.port))
            except ChildFailed:
                self.stop()
                raise
        return self

    def _spawn(self) -> None:
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self._log_from_bytes = log.tell()
            attach = [sys.executable, "-I", "-S", _ATTACHED, str(os.getpid())]
            # Away from the terminal: Ctrl-C reaches the demo alone, which then stops all in order.
            self._process = subprocess.Popen(
                [*attach, *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )

    def wait_for_port(self, timeout_s: float = READY_TIMEOUT_S) -> int:
        """Return the port that the process announces as `ready PORT`. Raises ChildFailed."""
        port = 0

        def announced() -> bool:
            nonlocal port
            lines = self._output().splitlines()
            port = next((int(line[6:]) for line in lines if line.startswith("ready ")), 0)
            return port > 0

        self.wait_until(announced, timeout_s)
        return port

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = READY_TIMEOUT_S) -> None:
        """Return when `condition` holds. Raises ChildFailed when the process ends or is late."""
        until_s = monotonic_s() + timeout_s
        while not condition():
            if self._process is None or self._process.poll() is not None:
                code = None if self._process is None else self._process.returncode
                raise ChildFailed(f"{self.name} ended with exit code {code}\n{self.tail()}")
            if monotonic_s() > until_s:
                raise ChildFailed(f"{self.name} not ready after {timeout_s:g} s\n{self.tail()}")
            time.sleep(POLL_S)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int | None:
        """Ask the process to end, insist after `timeout_s`; return its exit code. May be repeated.

        None when it was never started.
        """
        return self._end(signal.SIGTERM, timeout_s)

    def kill(self) -> int | None:
        """End the process with SIGKILL: no last words. Return its exit code."""
        return self._end(signal.SIGKILL, STOP_TIMEOUT_S)

    def tail(self) -> str:
        """Return the last lines of the log since the last start, for a person to read."""
        lines = self._output().splitlines()[-TAIL_LINES:]
        return "\n".join([f"the end of {self.log_file}:", *(f"    {line}" for line in lines)])

    def _end(self, number: int, timeout_s: float) -> int | None:
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        return self._process.returncode

    def _output(self) -> str:
        try:
            with self.log_file.open("rb") as log:
                log.seek(self._log_from_bytes)
                return log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()


def _accepts(port: int) -> bool:
    """Return True when something on 127.0.0.1 takes connections on `port`."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1.0):
            return True
    except OSError:
        return False
