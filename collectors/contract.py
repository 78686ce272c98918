"""What a protocol gives the house. Polling and subscription fit the same shape.

There is no word for writing here, and no protocol package may hold a write call.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from collectors.deviceclock import DeviceClock
from collectors.traffic import Traffic
from common.errors import Finding
from common.plant import Device
from common.records import Plan, Scan


class Session(Protocol):
    """One open connection to one device. It can only be read."""

    def scans(self) -> AsyncGenerator[Scan, None]:
        """Yield scans as the device gives them: per poll, or per notification.

        A tag that cannot be read is a value None with a Bad quality, not an error.
        Raises SourceUnavailable when the connection is lost or the device stops answering.
        """
        ...


class Collector(Protocol):
    """One configured device. Building it touches no network."""

    @property
    def plans(self) -> tuple[Plan, ...]:
        """One plan per group, in the order of the configuration."""
        ...

    @property
    def overruns(self) -> int:
        """Periods not held since the process started; each was skipped, never queued up."""
        ...

    @property
    def traffic(self) -> Traffic:
        """What the device was asked since the process started; the same object at every call."""
        ...

    @property
    def clock(self) -> DeviceClock:
        """What is known of the device's clock; stays empty where the protocol cannot ask."""
        ...

    def connect(self) -> AbstractAsyncContextManager[Session]:
        """Open a session for the length of the block; close it however the block ends.

        Raises SourceUnavailable on entry; the runner waits and tries again.
        Every wait inside is bounded, so that cancellation takes effect within 2 s.
        """
        ...


class Compile(Protocol):
    """`compile_device` in a protocol's config.py: what the operator wrote → what its code needs."""

    def __call__(self, device: Device, findings: list[Finding]) -> object | None:
        """Return the protocol's own settings, or None after a finding for everything wrong.

        Checks the device's keys and every tag's address and type. config.py and address.py import
        no foreign library, so that `tailrace check` runs where the library is not installed.
        """
        ...


class CheckTogether(Protocol):
    """`check_together` in a protocol's config.py: what no device can know alone. Optional."""

    def __call__(self, compiled: Sequence[object], findings: list[Finding]) -> None:
        """Add a finding where devices of the protocol contradict each other.

        `compiled` holds the settings of those devices that have nothing wrong by themselves.
        """
        ...


class Build(Protocol):
    """`build_collector` in a protocol's device.py, the only module that knows the library."""

    def __call__(self, settings: object) -> Collector:
        """Return the collector of one compiled device. Touches no network."""
        ...
