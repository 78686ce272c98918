"""What a target and a payload profile may know of the gateway they speak for."""

from dataclasses import dataclass
from typing import NamedTuple

from common.queue import Cursor, QueueReader
from uplink.contract import Wording
from uplink.newest import Newest
from uplink.report import Report


class Identity(NamedTuple):
    """Who speaks, and of which queue."""

    gateway: str
    epoch: int
    root: str
    edge: str
    """Topic of the branch in which the gateway speaks of itself."""


@dataclass(frozen=True)
class Surroundings:
    """What one uplink process has at hand when it builds its target."""

    identity: Identity
    reader: QueueReader
    cursor: Cursor
    """The uplink's own; a target may keep small things of its own in it (`keep_note`)."""
    newest: Newest
    wording: Wording | None = None
    """Of the same process: a target with sessions registers there what its data is told by."""
    report: Report | None = None
    """Where a target says why it is not connected yet though its far side answers."""
    tells_meta: bool = False
    """Whether what is known of each tag is published beside the data."""
    publish_addresses: bool = False
    """Whether OT lets its addresses be published with it."""
