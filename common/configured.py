"""What a process was started with, so that `tailrace reload` knows whom a change concerns.

Each process writes it once, when it has compiled its configuration, as a small file in the run
directory. Digests, never the values: a device's settings may name a user or hold an address list.
"""

import contextlib
import hashlib
from pathlib import Path
from typing import Any

import msgspec

from common.plant import GatewayConfig

QUEUE_LIMITS_FILE = "queue-limits.json"
"""In the data directory: [queue] as the normalizer last read it without a finding."""
_FOLDER = "configured"
_DIGEST_BYTES = 16


class ConfiguredPart(msgspec.Struct, frozen=True):
    """A device, of a collector; the gateway's own table, of an uplink."""

    digest: str
    """Of everything that was written about it. Another digest: it must be started again."""
    plans: list[bytes] = []
    """Encoded (common/records.py), one for each group."""


class Configured(msgspec.Struct, frozen=True):
    """One process's parts by name."""

    process: str
    parts: dict[str, ConfiguredPart] = {}


def digest_of(*written: Any) -> str:
    """Return a digest of what was written in a configuration: tables, rows, texts, numbers."""
    encoded = msgspec.msgpack.encode(written)
    return hashlib.blake2b(encoded, digest_size=_DIGEST_BYTES).hexdigest()


def gateway_part(gateway: GatewayConfig) -> ConfiguredPart:
    """Return what an uplink takes of [gateway]: it names itself by it, and finds its own topics."""
    return ConfiguredPart(digest_of(gateway.id, gateway.root, gateway.publish_addresses))


def write_configured(run_dir: Path, configured: Configured) -> None:
    """Replace the process's file in one step. A full disk is not this file's problem."""
    folder = run_dir / _FOLDER
    fresh = folder / f".{configured.process}.new"
    with contextlib.suppress(OSError):  # A reload then starts the process once too often.
        folder.mkdir(mode=0o700, exist_ok=True)
        fresh.write_bytes(msgspec.json.encode(configured))
        fresh.replace(folder / f"{configured.process}.json")


def read_configured(run_dir: Path, process: str) -> Configured | None:
    """Return what a process was last started with; None where it is not known."""
    try:
        path = run_dir / _FOLDER / f"{process}.json"
        return msgspec.json.decode(path.read_bytes(), type=Configured)
    except (OSError, msgspec.MsgspecError):
        return None
