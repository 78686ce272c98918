"""What both sides of the handoff agree on: version, message shapes, limits, the place to meet."""

import struct
from pathlib import Path

VERSION = 1
IN_FLIGHT_SCANS_MAX = 256
IN_FLIGHT_BYTES_MAX = 4 * 1024 * 1024
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
COLLECTORS_MAX = 64

HELLO = struct.Struct("<HQQQ")
SCAN = struct.Struct("<QQQQQ16s")
ACK = struct.Struct("<QQQQ")


def handoff_address(run_dir: Path) -> str:
    """Return where the normalizer listens: a Unix socket, never a network port."""
    return f"ipc://{run_dir}/handoff.sock"
