"""What subscribers are told of the gateway itself: retained, and by will when it dies."""

from importlib.metadata import PackageNotFoundError, version

import msgspec

from common.clock import now_ns
from uplink.contract import Message

STATUS_INTERVAL_S = 10.0
_NS_PER_MS = 1_000_000


class Status(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`<enterprise>/<site>/_edge/<gateway>/status`. Fields are only added."""

    online: bool
    timestamp_ms: int
    """When this was said, gateway clock. In a will: when the connection was opened."""
    version: str
    target: str = ""
    state: str = ""
    """`live`, or `backfill` while the backlog is older than current values."""
    queue_depth: int | None = None
    """Records committed and not yet acknowledged by this target."""
    acked_sequence: int | None = None
    set_aside: int | None = None
    """Messages in this target's dead-letter store."""


def edge_path(root: str, gateway: str) -> str:
    """Return the branch in which a gateway speaks of itself: the first two levels of its root."""
    return "/".join([*root.split("/")[:2], "_edge", gateway])


def product_version() -> str:
    """Return the version of the installed product, `unknown` when it runs from bare files."""
    try:
        return version("tailrace")
    except PackageNotFoundError:
        return "unknown"


def offline_message(edge: str) -> Message:
    """Return what the broker shall say when we are gone."""
    status = Status(online=False, timestamp_ms=now_ns() // _NS_PER_MS, version=product_version())
    return _message(edge, status)


def online_message(
    edge: str, target: str, state: str, *, queue_depth: int, acked_sequence: int, set_aside: int
) -> Message:
    """Return what is said on connect and every STATUS_INTERVAL_S."""
    status = Status(
        online=True,
        timestamp_ms=now_ns() // _NS_PER_MS,
        version=product_version(),
        target=target,
        state=state,
        queue_depth=queue_depth,
        acked_sequence=acked_sequence,
        set_aside=set_aside,
    )
    return _message(edge, status)


def _message(edge: str, status: Status) -> Message:
    return Message(f"{edge}/status", msgspec.json.encode(status), retain=True)
