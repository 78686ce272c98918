"""What each process says of itself, as a small file in the run directory.

A file, because a process that answers questions would have to listen. `tailrace status` reads
them all. Health is the age of the last good thing, never "connected": four of the libraries
underneath report connected while nothing flows.
"""

import os
from pathlib import Path
from typing import Any

import msgspec

from common.clock import now_ns

INTERVAL_S = 1.0
STALE_S = 5.0
"""A process whose file is older than this has stopped speaking."""


class Health(msgspec.Struct, kw_only=True):
    """One process's own account; `detail` is the process's own, kept flat and small."""

    process: str
    pid: int
    at_ns: int
    state: str
    """`running`, `idle` (nothing configured), `waiting` (a peer is away), `stopping`."""
    detail: dict[str, Any] = {}


def write_health(run_dir: Path, process: str, state: str, detail: dict[str, Any]) -> None:
    """Replace the process's health file in one step. A full disk is not this file's problem."""
    folder = run_dir / "health"
    health = Health(process=process, pid=os.getpid(), at_ns=now_ns(), state=state, detail=detail)
    fresh = folder / f".{process}.new"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        fresh.write_bytes(msgspec.json.encode(health))
        fresh.replace(folder / f"{process}.json")
    except OSError:
        return  # The file's age shows it; data must not stop because nobody could be told.


def read_health(run_dir: Path) -> dict[str, Health]:
    """Return the last account of every process, by process name."""
    found: dict[str, Health] = {}
    for path in sorted((run_dir / "health").glob("*.json")):
        try:
            found[path.stem] = msgspec.json.decode(path.read_bytes(), type=Health)
        except (OSError, msgspec.MsgspecError):
            continue  # Replaced or half gone; the next second brings another.
    return found
