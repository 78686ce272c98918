"""`python -m collectors.recording DEVICE --seconds N`: what a device gives, raw, line by line.

The device's own collector, with a connection of its own, for so long and no longer; it only reads.
The lines are those of common/rawscans.py. A loss of the device on the way is recorded as the
collector tells it. SIGTERM, SIGINT and a reader that leaves end it early; what is written is whole.
"""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable
from typing import BinaryIO

from collectors.addressee import CannotAsk, addressee
from collectors.contract import Collector
from collectors.registry import builder_of
from collectors.runner import DeviceState, keep_collecting
from common.answers import EXIT_OF
from common.errors import ConfigError, SourceUnavailable
from common.places import Places, add_places, places_of
from common.rawscans import GroupLine, ScanLine, encode_line
from common.records import Plan, Scan
from common.trials import packed

SECONDS_MAX = 86_400.0


class Recorder:
    """Writes scans as they come."""

    def __init__(self, device: DeviceState, out: BinaryIO) -> None:
        self._device = device
        self._out = out
        self._numbers: dict[bytes, int] = {}
        self.scans = 0
        self.samples = 0

    def put(self, scan: Scan, plan: Plan) -> None:
        """Write a scan, behind its group if it is the first.

        Raises SourceUnavailable when the device was not there to begin with.
        """
        if not self.scans and self._device.error:
            raise SourceUnavailable(self._device.error)
        if scan.plan not in self._numbers:
            self._numbers[scan.plan] = len(self._numbers)
            self._out.write(encode_line(group_line(plan)))
        line = ScanLine(
            of=self._numbers[scan.plan],
            at_ns=scan.read_at_ns,
            values=[packed(value) for value in scan.values],
            indexes=scan.indexes,
            qualities=scan.qualities if any(scan.qualities or ()) else None,
            source_at_ns=scan.source_at_ns,
        )
        self._out.write(encode_line(line))
        self._out.flush()
        self.scans += 1
        self.samples += len(scan.values)


def group_line(plan: Plan) -> GroupLine:
    """Return the line that describes a plan's scans."""
    return GroupLine(
        device=plan.device,
        group=plan.group,
        tags=[column.name for column in plan.scanned],
        protocol=plan.protocol,
        period_ms=plan.period_ms,
        addresses=[column.address for column in plan.scanned],
    )


def collector_of(places: Places, name: str) -> Collector:
    """Return the collector of one device. Raises CannotAsk."""
    if "://" in name:
        text = "a URL names no tags, and a recording is one of tags; describe the device in ot/"
        raise CannotAsk("usage", text)
    whom = addressee(places, name)
    settings = whom.compiled()
    try:
        return builder_of(whom.protocol)(settings)
    except ConfigError as error:
        raise CannotAsk("found", str(error)) from error


async def record(device: DeviceState, recorder: Recorder, seconds: float) -> None:
    """Record for so long. Raises SourceUnavailable when the device is not there to begin with."""
    task = asyncio.current_task()
    if task is not None:
        for each in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(each, task.cancel)
    try:
        async with asyncio.timeout(seconds):
            await keep_collecting(device, recorder.put)
    except TimeoutError:
        if not recorder.scans:
            text = f"nothing came within {seconds:g} s; record for longer with --seconds"
            raise SourceUnavailable(text) from None


def command(say: Callable[[str], object] = sys.stderr.write) -> None:
    """Record what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m collectors.recording", description=__doc__)
    add_places(parser)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("device")
    arguments = parser.parse_args()
    # What is logged of a loss stands in the recording, and ends it when there was nothing before.
    logging.disable(logging.CRITICAL)
    code = 0
    try:
        device = DeviceState(collector_of(places_of(arguments), arguments.device))
        recorder = Recorder(device, sys.stdout.buffer)
        # Told to stop: the usual way to end a recording early.
        with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
            asyncio.run(record(device, recorder, min(arguments.seconds, SECONDS_MAX)))
        say(f"{recorder.scans:,} scans with {recorder.samples:,} values were recorded\n")
    except CannotAsk as error:
        say(f"{error}\n")
        code = EXIT_OF[error.kind]
    except SourceUnavailable as error:
        say(f"{error}\n")
        code = EXIT_OF["unreachable"]
    except BrokenPipeError:
        code = 0  # Whoever wanted it has left.
    sys.exit(code)


if __name__ == "__main__":
    command()
