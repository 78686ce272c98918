"""`tailrace status`: what runs, from supervisord and from each process's own account.

supervisord knows whether a process lives; the health files say whether it does its work. Neither
is asked over a network: one is a Unix socket, the others are files.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from common.clock import monotonic_s, now_ns
from common.health import INTERVAL_S, STALE_S, Health, read_health
from console.accounts import (
    CollectorAccount,
    DeviceAccount,
    LedgerAccount,
    NormalizerAccount,
    UplinkAccount,
    account,
)
from console.run import supervisor_socket
from console.set_aside import reasons
from console.supervising import supervised

ANSWER_S = 2 * INTERVAL_S + 0.2
"""How long a second health reading is waited for: a process speaks once per interval."""
LOOK_S = 0.05

_WORDS = {
    "STARTING": "starting",
    "BACKOFF": "failing",
    "FATAL": "failing",
    "STOPPING": "stopping",
    "STOPPED": "stopped",
    "EXITED": "stopped",
}


class ProcessStatus(msgspec.Struct, kw_only=True):
    """One process: alive as supervisord sees it, and at work as it says itself."""

    name: str
    state: str
    """`running`, `idle`, `waiting`, `full` (the queue, which takes nothing more), `stopping`,
    `starting`, `stopped`, `failing`, or `silent`: it lives but has stopped speaking."""
    pid: int | None = None
    uptime_s: float | None = None
    note: str = ""


class DeviceStatus(msgspec.Struct, kw_only=True):
    """One device, as its collector says."""

    name: str
    process: str
    state: str
    since_s: float | None
    """How long the state has lasted."""
    last_scan_age_s: float | None
    scans: int
    scans_per_s: float | None
    """Measured between two readings about a second apart; None when there was only one."""
    samples_per_s: float | None
    overruns: int
    """Periods not held since its collector started; for subscriptions, overflows at the server."""
    requests_per_s: float | None
    """Asked of the device, with both rates below: the load that the gateway is on it."""
    sent_bytes_per_s: float | None
    received_bytes_per_s: float | None
    reply_p50_s: float | None
    """Of the last 256 replies; None where the device was not asked yet."""
    reply_p95_s: float | None
    clock_offset_s: float | None
    """Device's clock minus the gateway's; None where the protocol cannot tell."""
    clock_doubtful: bool
    """One of the two clocks jumped a moment ago; source times are Uncertain."""
    error: str | None


class UplinkStatus(msgspec.Struct, kw_only=True):
    """One target, as its uplink says."""

    target: str
    process: str
    state: str
    last_ack_age_s: float | None
    behind: int | None
    """Records committed and not yet acknowledged by this target."""
    lane: str | None
    """`live`, or `backfill` while there is a backlog behind current values; None: not told."""
    published: int
    refused: int
    set_aside: int
    set_aside_reasons: dict[str, int]
    """Reason → messages, the most frequent first; empty also where the store cannot be read."""
    retried: int
    """Messages that were set aside, published again and taken, since the uplink started."""
    retry_waiting: int
    """Messages set aside that a person wants published again."""
    in_flight: int
    error: str | None
    notes: list[str]
    """What this far side, or the connection to it, cannot do."""
    warnings: list[str]
    """What a person must do soon: a certificate that ends, new files that cannot be used."""
    cut_off_age_s: float | None = None
    """Since it was last cut off because more waited for it than its limit; None: it never was."""
    cut_off_samples: int = 0
    """That it never got because of it."""


class QueueStatus(msgspec.Struct, kw_only=True):
    """The queue, as the normalizer says."""

    depth: int
    oldest_age_s: float | None
    bytes: int
    capacity_bytes: int
    autonomy_h: float | None
    """Hours until it is full if nobody drains it; None while nothing comes in."""
    when_full: str | None
    gaps: int
    ledger: LedgerAccount | None
    """None when the normalizer does not say."""


class ClockStatus(msgspec.Struct, kw_only=True):
    """The gateway's own clock, as the normalizer says."""

    state: str
    """`synchronised`, `unsynchronised`, `stepped` (within the last ten minutes), `unknown`."""
    steps: int
    """Since the normalizer started."""
    last_step_s: float | None
    """Positive: it was set forwards."""


class Status(msgspec.Struct, kw_only=True):
    """One look at the whole gateway."""

    supervised: bool
    processes: list[ProcessStatus]
    devices: list[DeviceStatus]
    queue: QueueStatus | None
    clock: ClockStatus | None = None
    uplinks: list[UplinkStatus]

    @property
    def anything_runs(self) -> bool:
        """False when nobody answered at all."""
        return self.supervised or any(each.pid for each in self.processes)

    @property
    def sick(self) -> list[str]:
        """Processes that a person must look at. Absent devices and targets are not: they return."""
        return [each.name for each in self.processes if each.state in ("failing", "silent")]


def look(run_dir: Path, queue_dir: Path) -> Status:
    """Return the state of the gateway; takes about a second, for the rates."""
    first = read_health(run_dir)
    programs = supervised(supervisor_socket(run_dir))
    second = _next_reading(run_dir, first)
    at_ns = now_ns()
    fresh = {name: h for name, h in second.items() if at_ns - h.at_ns < STALE_S * 1e9}
    names = list(programs or {}) + [name for name in fresh if name not in (programs or {})]
    return Status(
        supervised=programs is not None,
        processes=[
            process_status(name, (programs or {}).get(name), second.get(name), speaks=name in fresh)
            for name in names
        ],
        devices=devices_of(first, fresh, at_ns),
        queue=_queue(fresh.get("normalizer")),
        clock=_clock(fresh.get("normalizer")),
        uplinks=_uplinks(fresh, at_ns, queue_dir),
    )


def _next_reading(run_dir: Path, first: dict[str, Health]) -> dict[str, Health]:
    """Return the health files once every collector that spoke lately has spoken again."""
    at_ns = now_ns()
    awaited = [
        name
        for name, health in first.items()
        if health.detail.get("devices") and at_ns - health.at_ns < STALE_S * 1e9
    ]
    deadline_s = monotonic_s() + ANSWER_S
    while True:
        second = read_health(run_dir)
        old = [
            name for name in awaited if name in second and second[name].at_ns == first[name].at_ns
        ]
        if not old or monotonic_s() > deadline_s:
            return second
        time.sleep(LOOK_S)


def process_status(
    name: str,
    program: dict[str, Any] | None,
    health: Health | None,
    *,
    speaks: bool,
) -> ProcessStatus:
    """Join what supervisord says of a process with what it says itself, if it still `speaks`."""
    if program is None:  # Started by hand, or supervisord is gone: only its own account is known.
        state, pid = (health.state, health.pid) if health else ("stopped", None)
        return ProcessStatus(name=name, state=state, pid=pid, note="not under supervisord")
    uptime_s = float(max(0, program["now"] - program["start"]))
    if program["statename"] != "RUNNING":
        state = _WORDS.get(program["statename"], program["statename"].lower())
        return ProcessStatus(
            name=name, state=state, pid=program["pid"] or None, note=program["spawnerr"]
        )
    ours = health is not None and health.pid == program["pid"]
    state, note = "silent", f"alive, but has not spoken for {STALE_S:.0f} s"
    if speaks and ours and health is not None:
        state, note = health.state, ""
    elif uptime_s < STALE_S:
        state, note = "starting", ""
    return ProcessStatus(name=name, state=state, pid=program["pid"], uptime_s=uptime_s, note=note)


def _age_s(at_ns: int, then_ns: int | None) -> float | None:
    """Return seconds since `then_ns`, never below 0: the clock may have stepped back."""
    return None if then_ns is None else max(0.0, (at_ns - then_ns) / 1e9)


def devices_of(
    first: dict[str, Health], fresh: dict[str, Health], at_ns: int
) -> list[DeviceStatus]:
    """Return every device of the fresh accounts; their rates from the `first` ones before."""
    found = []
    for process, health in fresh.items():
        before = first.get(process)
        same = before is not None and before.pid == health.pid
        earlier = account(before, CollectorAccount).devices if same else {}
        elapsed_s = (health.at_ns - before.at_ns) / 1e9 if before else 0.0
        for name, now in account(health, CollectorAccount).devices.items():
            then = earlier.get(name) if elapsed_s > 0 else None
            found.append(_device(name, process, now, at_ns, _rates(then, now, elapsed_s)))
    return found


class _Rates(NamedTuple):
    """Of one device, per second between two readings; None when there was only one."""

    scans: float | None = None
    samples: float | None = None
    requests: float | None = None
    bytes_sent: float | None = None
    bytes_received: float | None = None


def _rates(then: DeviceAccount | None, now: DeviceAccount, elapsed_s: float) -> _Rates:
    if then is None:
        return _Rates()
    return _Rates(
        *((getattr(now, name) - getattr(then, name)) / elapsed_s for name in _Rates._fields)
    )


def _device(name: str, process: str, now: DeviceAccount, at_ns: int, rates: _Rates) -> DeviceStatus:
    return DeviceStatus(
        name=name,
        process=process,
        state=now.state,
        since_s=_age_s(at_ns, now.since_ns),
        last_scan_age_s=_age_s(at_ns, now.last_scan_at_ns),
        scans=now.scans,
        scans_per_s=rates.scans,
        samples_per_s=rates.samples,
        overruns=now.overruns,
        requests_per_s=rates.requests,
        sent_bytes_per_s=rates.bytes_sent,
        received_bytes_per_s=rates.bytes_received,
        reply_p50_s=now.reply_p50_s,
        reply_p95_s=now.reply_p95_s,
        clock_offset_s=now.clock_offset_s,
        clock_doubtful=now.clock_doubtful,
        error=now.error,
    )


def _queue(normalizer: Health | None) -> QueueStatus | None:
    told = account(normalizer, NormalizerAccount)
    if told.queue is None:
        return None
    return QueueStatus(
        depth=told.queue.depth,
        oldest_age_s=told.queue.oldest_age_s,
        bytes=told.queue.bytes,
        capacity_bytes=told.queue.capacity_bytes,
        autonomy_h=told.queue.autonomy_h,
        when_full=told.queue.when_full,
        gaps=told.gaps,
        ledger=told.ledger,
    )


def _clock(normalizer: Health | None) -> ClockStatus | None:
    told = account(normalizer, NormalizerAccount)
    if told.clock is None:
        return None
    return ClockStatus(state=told.clock, steps=told.clock_steps, last_step_s=told.clock_step_s)


def _behind(told: UplinkAccount, last: int | None) -> int | None:
    """Return how many sequences are not settled, by the uplink's word where it has one."""
    if told.waiting is not None:
        return told.waiting
    return None if last is None else max(0, last - told.acked_sequence)


def _uplinks(fresh: dict[str, Health], at_ns: int, queue_dir: Path) -> list[UplinkStatus]:
    queue = account(fresh.get("normalizer"), NormalizerAccount).queue
    last = queue.last_sequence if queue else None
    cuts = queue.cut_off if queue else {}
    return [
        UplinkStatus(
            target=told.target,
            process=process,
            state=told.state,
            last_ack_age_s=_age_s(at_ns, told.last_ack_at_ns),
            behind=_behind(told, last),
            lane=told.lane,
            published=told.published,
            refused=told.refused,
            set_aside=told.set_aside,
            set_aside_reasons=reasons(queue_dir, told.target) if told.set_aside else {},
            retried=told.retried,
            retry_waiting=told.retry_waiting,
            in_flight=told.in_flight,
            error=told.error,
            notes=told.notes,
            warnings=told.warnings,
            cut_off_age_s=_age_s(at_ns, cuts[told.target].at_ns) if told.target in cuts else None,
            cut_off_samples=cuts[told.target].samples if told.target in cuts else 0,
        )
        for process, health in fresh.items()
        if (told := account(health, UplinkAccount)).target is not None
    ]
