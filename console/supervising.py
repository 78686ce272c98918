"""Asking supervisord, over its Unix socket, with a limit on every wait."""

import http.client
import socket
import xmlrpc.client
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

SUPERVISOR_TIMEOUT_S = 2.0
"""A supervisord that is stopped or hangs takes connections and never answers."""


class _ImpatientConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket, as supervisor's own connection, which waits for ever."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SUPERVISOR_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SUPERVISOR_TIMEOUT_S)
        self.sock.connect(str(self._path))


class _ImpatientTransport(SupervisorTransport):  # type: ignore[misc]  # supervisor is untyped
    """supervisor's transport with a time limit."""

    def __init__(self, path: Path) -> None:
        super().__init__(None, None, f"unix://{path}")
        self._get_connection = lambda: _ImpatientConnection(path)


def supervised(path: Path) -> dict[str, dict[str, Any]] | None:
    """Return supervisord's account by process name, None when it does not answer."""
    told: Any = _asked(path, "getAllProcessInfo")
    return None if told is None else {each["name"]: each for each in told}


def tell_to_stop(path: Path, program: str) -> bool:
    """Send SIGTERM to a process; supervisord starts it again (autorestart). False: not done."""
    return _asked(path, "signalProcess", program, "TERM") is not None


def give_up(path: Path, program: str) -> bool:
    """Have supervisord no longer wait before it starts a failing process again."""
    wait = False
    return _asked(path, "stopProcess", program, wait) is not None


def start(path: Path, program: str) -> bool:
    """Have a process that has ended started. Does not wait for it. False: not done."""
    wait = False
    return _asked(path, "startProcess", program, wait) is not None


def _asked(path: Path, method: str, *arguments: object) -> Any:
    """Return the answer, None when there is none or it is a refusal."""
    transport = _ImpatientTransport(path)
    try:
        # The address is never used: the transport speaks to the socket.
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport)
        return getattr(proxy.supervisor, method)(*arguments)
    except (OSError, http.client.HTTPException, xmlrpc.client.Error):
        return None
    finally:
        transport.close()
