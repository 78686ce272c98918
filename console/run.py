"""`tailrace run`: every process of the gateway under supervisord, in the foreground."""

import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from common.errors import TailraceError
from common.places import Places
from common.process import SUPERVISOR, make_run_dir
from console.programs import supervisor_file
from console.rooms import become, command, environment

SOCKET = "supervisor.sock"
RUN_DIR_BYTES_MAX = 80
"""A Unix socket's path has 107 bytes; the longest name we put behind the folder takes the rest."""


class CannotRun(TailraceError):
    """The folders are not usable; the text says what to do."""


def make_places(places: Places) -> None:
    """Create the run and data folders for this user alone. Raises CannotRun."""
    length = len(os.fsencode(places.run_dir))
    if length > RUN_DIR_BYTES_MAX:
        text = f"the run folder's path has {length} bytes, {RUN_DIR_BYTES_MAX} at most"
        raise CannotRun(f"{text}: {places.run_dir}; choose a shorter one with --run")
    for name, folder in (("--run", places.run_dir), ("--data", places.data_dir)):
        if "%" in str(folder):
            raise CannotRun(f"{folder}: supervisord cannot hold a '%' in a path; choose another")
        try:
            make_run_dir(folder)
        except OSError as error:
            text = f"cannot use {folder}: {error.strerror}"
            raise CannotRun(
                f"{text}; create it for this user, or choose another: {name}"
            ) from error


def start(places: Places) -> NoReturn:
    """Become supervisord, so that every signal reaches it. Does not return."""
    variables = environment(places)
    variables[SUPERVISOR] = str(os.getpid())
    if "TAILRACE_LOGS" not in variables:
        if stat.S_ISSOCK(os.fstat(sys.stdout.fileno()).st_mode):
            _give_stdout_a_pipe()
        variables["TAILRACE_LOGS"] = "/dev/fd/1"
    _append_only()
    os.umask(0o077)
    conf = str(supervisor_file(places))
    become(command("supervisor.supervisord", ["-n", "-c", conf]), variables)


def _append_only() -> None:
    # supervisord writes its own lines through the inherited descriptor, at that one's own offset,
    # and its children's through another: into a file that the shell opened with `>` they would
    # write over each other.
    for descriptor in (sys.stdout.fileno(), sys.stderr.fileno()):
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_APPEND)


def _give_stdout_a_pipe() -> None:
    # Under systemd standard output is a socket, and /dev/fd/1 of a socket cannot be opened. The
    # copier ignores SIGTERM, since it must outlive the last words of the others; it ends with them.
    copier = subprocess.Popen(
        ["/bin/sh", "-c", 'trap "" TERM INT; exec cat'],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    if copier.stdin is not None:
        os.dup2(copier.stdin.fileno(), sys.stdout.fileno())
        os.dup2(copier.stdin.fileno(), sys.stderr.fileno())


def supervisor_socket(run_dir: Path) -> Path:
    """Return where supervisord of this run folder answers."""
    return run_dir / SOCKET
