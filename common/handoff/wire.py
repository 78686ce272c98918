"""What both sides of the handoff agree on: version, message shapes, limits, the place to meet."""

import struct
from pathlib import Path
from typing import NamedTuple

from common.outbox import PLAN_BYTES_MAX, SCAN_BYTES_MAX

VERSION = 2
"""The first two bytes of every hello, whatever else a version changes."""
IN_FLIGHT_SCANS_MAX = 256
IN_FLIGHT_BYTES_MAX = 4 * 1024 * 1024
MESSAGE_BYTES_MAX = max(PLAN_BYTES_MAX, SCAN_BYTES_MAX)
ANSWER_BYTES_MAX = 64 * 1024
COLLECTORS_MAX = 64

Frames = tuple[bytes, ...]


class Hello(NamedTuple):
    """What a collector says of itself: who is here, and how far it has sent."""

    version: int
    epoch: int
    oldest: int
    """Scans before this one are gone for good."""
    sent: int
    """The last scan sent, under way or arrived."""
    run: int
    """Names this process of the collector, so that answers to the one before it are known."""
    greeting: int
    """Counts the hellos of this run."""


class Answer(NamedTuple):
    """What the normalizer has of one collector's stream."""

    run: int
    greeting: int
    """The last hello that was heard, and its run."""
    asked: int
    """`sent` of that hello."""
    committed: int
    received: int
    told: int
    """The number of the last counts committed; 0 for none of this run."""


HELLO = struct.Struct("<HQQQQQ")
HELLO_VERSION = struct.Struct("<H")
SCAN = struct.Struct("<QQQQQ16s")
COUNTS = struct.Struct("<QQQQ")
ANSWER = struct.Struct("<QQQQQQ")


def handoff_address(run_dir: Path) -> str:
    """Return where the normalizer listens: a Unix socket, never a network port."""
    return f"ipc://{run_dir}/handoff.sock"
