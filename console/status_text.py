"""`tailrace status` for people."""

from console.status import DeviceStatus, QueueStatus, Status, UplinkStatus
from console.tables import count, milliseconds, rate, size, span, table

REASONS_MAX = 3
"""Told of one target; `tailrace set-aside list` has them all."""


def status_text(status: Status) -> list[str]:
    """Return the lines: processes, devices, queue, targets. What is empty is left out."""
    parts = [
        _processes(status),
        _devices(status),
        _load(status),
        _queue(status),
        _gateway_clock(status),
        _uplinks(status),
    ]
    lines: list[str] = []
    for part in parts:
        if part:
            lines += ["", *part] if lines else part
    return lines


def _processes(status: Status) -> list[str]:
    rows = [
        (each.name, each.state, str(each.pid or "-"), span(each.uptime_s))
        for each in status.processes
    ]
    lines = table(("PROCESS", "STATE", "PID", "UP"), rows, [each.note for each in status.processes])
    return lines if status.supervised else [*lines, "supervisord does not answer"]


def _devices(status: Status) -> list[str]:
    rows = [
        (
            each.name,
            each.state,
            span(each.since_s),
            span(each.last_scan_age_s),
            rate(each.scans_per_s),
            rate(each.samples_per_s),
            count(each.overruns),
        )
        for each in status.devices
    ]
    header = ("DEVICE", "STATE", "FOR", "LAST SCAN", "SCANS/S", "SAMPLES/S", "OVERRUNS")
    return table(header, rows, [each.error for each in status.devices]) if rows else []


def _load(status: Status) -> list[str]:
    """Return what the gateway asks of each device, and how fast that answers."""
    rows = [
        (
            each.name,
            rate(each.requests_per_s),
            rate(_bytes_per_s(each)),
            milliseconds(each.reply_p50_s),
            milliseconds(each.reply_p95_s),
            _clock(each),
        )
        for each in status.devices
        if each.requests_per_s or each.reply_p50_s is not None or each.clock_offset_s is not None
    ]
    header = ("LOAD ON DEVICE", "REQUESTS/S", "BYTES/S", "REPLY P50", "P95", "CLOCK")
    return table(header, rows, [None] * len(rows)) if rows else []


def _bytes_per_s(device: DeviceStatus) -> float | None:
    sent, received = device.sent_bytes_per_s, device.received_bytes_per_s
    return None if sent is None or received is None else sent + received


def _clock(device: DeviceStatus) -> str:
    """Return how far the device's clock is ahead; `?` behind it just after a jump."""
    if device.clock_offset_s is None:
        return "-"
    return f"{device.clock_offset_s:+.3f} s" + ("?" if device.clock_doubtful else "")


def _queue(status: Status) -> list[str]:
    queue = status.queue
    if queue is None:
        return []
    share = f" ({queue.bytes / queue.capacity_bytes:.1%})" if queue.capacity_bytes else ""
    row = (
        count(queue.depth),
        span(queue.oldest_age_s) if queue.depth else "-",
        f"{size(queue.bytes)} of {size(queue.capacity_bytes)}{share}",
        span(None if queue.autonomy_h is None else queue.autonomy_h * 3600),
        queue.when_full or "-",
        count(queue.gaps),
    )
    header = ("QUEUED RECORDS", "OLDEST", "ON DISK", "AUTONOMY", "WHEN FULL", "GAPS")
    return table(header, [row], [_lost(queue)])


def _gateway_clock(status: Status) -> list[str]:
    """Return a line only where a person should know: a clock that is kept right is no news."""
    clock = status.clock
    if clock is None or (clock.state == "synchronised" and not clock.steps):
        return []
    last = clock.last_step_s
    steps = f"{clock.steps}, the last by {last:+.1f} s" if last is not None else "0"
    notes = {
        "unsynchronised": "no NTP or PTP keeps it right; samples say so unless [gateway] clock "
        'is "trust"',
        "stepped": "it was set; the samples that show it say so",
        "unknown": "this system cannot say whether anything keeps it right",
    }
    return table(("GATEWAY CLOCK", "STEPS"), [(clock.state, steps)], [notes.get(clock.state)])


def _lost(queue: QueueStatus) -> str | None:
    """Return what was lost since the queue was begun, and why; None when nothing was."""
    if queue.ledger is None or not (queue.ledger.lost or queue.ledger.unknown_losses):
        return None
    causes = ", ".join(
        f"{count(samples)} {cause}" for cause, samples in queue.ledger.lost.items() if samples
    )
    total = count(sum(queue.ledger.lost.values()))
    unknown = queue.ledger.unknown_losses
    more = f"; {count(unknown)} losses of unknown size" if unknown else ""
    text = f"lost of {count(queue.ledger.collected)} samples: {total}"
    return f"{text} ({causes}){more}" if causes else f"{text}{more}"


def _uplinks(status: Status) -> list[str]:
    rows = [
        (
            each.target,
            each.state,
            each.lane or "-",
            span(each.last_ack_age_s),
            count(each.behind),
            count(each.published),
            count(each.refused),
            count(each.set_aside),
        )
        for each in status.uplinks
    ]
    header = ("TARGET", "STATE", "LANE", "LAST ACK", "BEHIND", "PUBLISHED", "REFUSED", "SET ASIDE")
    return table(header, rows, [_remarks(each) for each in status.uplinks]) if rows else []


def _remarks(uplink: UplinkStatus) -> str | None:
    """Return a line for each thing that a person should know about a target; None if nothing."""
    lines = [*filter(None, [uplink.error]), *uplink.warnings, *uplink.notes]
    if uplink.set_aside_reasons:
        reasons = [f"{count(many)} {why}" for why, many in uplink.set_aside_reasons.items()]
        more = len(reasons) - REASONS_MAX
        told = ", ".join(reasons[:REASONS_MAX]) + (f", {more} other reasons" if more > 0 else "")
        lines.append(f"set aside: {told}; see tailrace set-aside list")
    if uplink.retried or uplink.retry_waiting:
        waiting = f", {count(uplink.retry_waiting)} wait" if uplink.retry_waiting else ""
        lines.append(f"published again: {count(uplink.retried)} taken{waiting}")
    if uplink.cut_off_age_s is not None:
        lines.append(
            f"cut off {span(uplink.cut_off_age_s)} ago, beyond its limit: "
            f"{count(uplink.cut_off_samples)} samples it never gets"
        )
    return "\n".join(lines) or None
