"""What subscribers are told of the gateway itself: retained, and by will when it dies.

    {"online":true,"timestamp_ms":1733904005123,"version":"0.1.0","target":"uns","state":"live",
     "queue_depth":3,"acked_sequence":4711,"set_aside":0,
     "ledger":{"collected":50000,"unchanged":1200,"delivered":48000,"queued":300,
               "lost":{"queue-full":500},
               "devices":{"press":{"collected":…,…},"meter":{…}}},
     "autonomy_h":712.5,"queue_bytes":81920,"capacity_bytes":8589934592,"when_full":"drop-oldest",
     "clock_offsets_s":{"robot":-0.012},
     "certificate_expires_ms":1765440005000,"warnings":["our certificate … expires on …; renew it"]}

The ledger
    Samples, since the queue was begun, as this target sees them: `delivered` is what it has had,
    or has refused for good (set_aside counts those), by whole blocks; `queued` is on its way to it.

        collected = unchanged + delivered + queued + all of lost

    holds for the whole and for every device, to the sample, at the instant it was said. `unchanged`
    were read, lay within the deadband and needed no telling. `lost` is by cause, and absent when
    nothing is. `unknown_losses` counts losses whose size nobody knows, so that they are in no sum;
    absent when there are none. What the queue had to drop before every target had it is lost,
    also where this target had it. `devices` names DEVICES_MAX at the most; of how many it says
    nothing stands in `devices_omitted`. A loss that belongs to no known device stands under `?`.
    `cut_off_samples`, beside the ledger: what this target never gets because more waited for it
    than its limit (docs/queue.md). Another that had them makes them `delivered` all the same.

The queue, as the normalizer says; absent while it says nothing
    `autonomy_h`      how many hours from now the queue is full when no target takes anything;
                      absent too while that is not known
    `queue_bytes`, `capacity_bytes`   what it holds, and what it may hold
    `when_full`       what happens then: `drop-oldest`, `thin` or `stop-reading`

The devices' clocks, as the collectors estimate them; absent where none can be asked
    `clock_offsets_s` device's clock minus the gateway's, in seconds, of DEVICES_MAX at the most

The gateway's own clock, as the normalizer says; absent while it says nothing
    `clock`           `synchronised`, `unsynchronised` (nothing keeps it right), `stepped` (it was
                      set within the last ten minutes), `unknown`

What is coming; absent where nothing is
    `warnings`        sentences on what a person must do soon: a certificate ends within 30 days (or
                      the last third of a shorter life), renewed files cannot be used
    `certificate_expires_ms`   when the gateway's own certificate for this target ends

A far side that takes only small messages is told less: first the devices go, then the ledger, then
the warnings.
"""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from common.clock import now_ns
from common.health import STALE_S, read_health
from common.queue.ledger import Account, Ledger
from uplink.contract import Message

STATUS_INTERVAL_S = 10.0
DEVICES_MAX = 256
"""Some 30 KB: a quarter of what the most restrictive cloud brokers take."""
NO_DEVICE = "?"
_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000

T = TypeVar("T")


class AccountStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of the samples of one device, or of all."""

    collected: int
    unchanged: int
    delivered: int
    queued: int
    lost: dict[str, int] = {}
    """Samples by cause."""
    unknown_losses: int = 0


class LedgerStatus(AccountStatus, frozen=True, kw_only=True, omit_defaults=True):
    """The whole gateway's account, and every device's."""

    devices: dict[str, AccountStatus] = {}
    devices_omitted: int = 0


class _DeviceFacts(msgspec.Struct, frozen=True):
    """What a collector's health file says of one device, as far as it is told here."""

    clock_offset_s: float | None = None


class CutFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the normalizer says of a target that it has cut off."""

    samples: int = 0


class QueueFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the normalizer's health file says of the queue, under its own names."""

    autonomy_h: float | None = None
    bytes: int | None = None
    capacity_bytes: int | None = None
    when_full: str | None = None
    cut_off: dict[str, CutFacts] = {}
    """By target."""


class GatewayFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the other processes of the gateway say of themselves, as far as it is told here."""

    queue: QueueFacts = QueueFacts()
    clock_offsets_s: dict[str, float] = {}
    """Device → its clock minus the gateway's; only of devices that can be asked."""
    clock: str | None = None


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
    """Sequences committed and not yet acknowledged by this target."""
    acked_sequence: int | None = None
    set_aside: int | None = None
    """Messages in this target's dead-letter store."""
    cut_off_samples: int = 0
    """That this target never gets; absent when there are none."""
    ledger: LedgerStatus | None = None
    autonomy_h: float | None = None
    queue_bytes: int | None = None
    capacity_bytes: int | None = None
    when_full: str | None = None
    clock_offsets_s: dict[str, float] = {}
    clock: str | None = None
    warnings: tuple[str, ...] = ()
    certificate_expires_ms: int | None = None


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


def online_status(
    target: str, state: str, *, queue_depth: int, acked_sequence: int, set_aside: int
) -> Status:
    """Return what is said on connect and every STATUS_INTERVAL_S, without the ledger."""
    return Status(
        online=True,
        timestamp_ms=now_ns() // _NS_PER_MS,
        version=product_version(),
        target=target,
        state=state,
        queue_depth=queue_depth,
        acked_sequence=acked_sequence,
        set_aside=set_aside,
    )


def online_messages(
    edge: str, said: Status, ledger: Ledger, facts: GatewayFacts
) -> Iterator[Message]:
    """Yield the status with ledger, queue and clocks, then ever shorter forms of it.

    The first that the far side takes is to be sent.
    """
    said = msgspec.structs.replace(
        said,
        cut_off_samples=facts.queue.cut_off.get(said.target, CutFacts()).samples,
        autonomy_h=facts.queue.autonomy_h,
        queue_bytes=facts.queue.bytes,
        capacity_bytes=facts.queue.capacity_bytes,
        when_full=facts.queue.when_full,
        clock=facts.clock,
    )
    told = _ledger_status(ledger, DEVICES_MAX)
    clocks = dict(sorted(facts.clock_offsets_s.items())[:DEVICES_MAX])
    yield _message(edge, msgspec.structs.replace(said, ledger=told, clock_offsets_s=clocks))
    yield _message(edge, msgspec.structs.replace(said, ledger=_ledger_status(ledger, 0)))
    yield _message(edge, said)
    if said.warnings:
        yield _message(edge, msgspec.structs.replace(said, warnings=()))


def gateway_facts(run_dir: Path) -> GatewayFacts:
    """Return what the other processes said lately; nothing is known of one that is silent."""
    at_ns = now_ns()
    spoken = {
        name: health.detail
        for name, health in read_health(run_dir).items()
        if at_ns - health.at_ns <= STALE_S * _NS_PER_S
    }
    devices: dict[str, _DeviceFacts] = {}
    for detail in spoken.values():
        devices |= _understood(detail.get("devices"), dict[str, _DeviceFacts]) or {}
    return GatewayFacts(
        clock=_understood(spoken.get("normalizer", {}).get("clock"), str),
        queue=_understood(spoken.get("normalizer", {}).get("queue"), QueueFacts) or QueueFacts(),
        clock_offsets_s={
            name: device.clock_offset_s
            for name, device in devices.items()
            if device.clock_offset_s is not None
        },
    )


def _understood(said: Any, kind: type[T]) -> T | None:
    """Return what another process said, None where it is another version's: it is not for us."""
    try:
        return msgspec.convert(said, kind)
    except msgspec.ValidationError:
        return None


def _ledger_status(ledger: Ledger, devices_max: int) -> LedgerStatus:
    devices = sorted(ledger.devices.items())
    named = devices[:devices_max]
    return LedgerStatus(
        **msgspec.structs.asdict(_account_status(ledger.total)),
        devices={name or NO_DEVICE: _account_status(account) for name, account in named},
        devices_omitted=len(devices) - len(named),
    )


def _account_status(account: Account) -> AccountStatus:
    return AccountStatus(
        collected=account.collected,
        unchanged=account.unchanged,
        delivered=account.delivered,
        queued=account.queued,
        lost={cause: loss.samples for cause, loss in account.lost.items() if loss.samples},
        unknown_losses=sum(loss.unknown for loss in account.lost.values()),
    )


def _message(edge: str, status: Status) -> Message:
    return Message(f"{edge}/status", msgspec.json.encode(status), retain=True)
