"""What `tailrace demo` lives through: first values, an outage if asked for, an honest verdict."""

from collections.abc import Callable

from common.clock import monotonic_s
from common.errors import TailraceError
from common.process import Stopping, StopRequested
from demo.screen import Picture, Row, Screen, pause, stamp
from demo.site import Site

FIRST_VALUES_TIMEOUT_S = 30.0
BEFORE_OUTAGE_S = 3.0
"""Enough to see the line run before it is cut."""
TELL_DEPTH_EVERY_S = 2.0
BACKLOG_TIMEOUT_S = 90.0
"""After the line is back; the uplink tries again at least once a minute."""
FRESH_S = 10.0
"""Every machine has a counter that never rests: an older newest value means it is not read."""
MISSING_SHOWN = 5


class DemoFailed(TailraceError):
    """The demo did not show what it promises; the text says what, and where to look."""


class Story:
    """One run of the demo on a site that is up. Raises StopRequested when told to stop."""

    def __init__(self, site: Site, screen: Screen, stopping: Stopping) -> None:
        self._site = site
        self._screen = screen
        self._stopping = stopping
        plant = site.plant()
        self._root = plant.gateway.root
        self._devices = {
            device.name: {tag.topic for group in device.groups for tag in group.tags}
            for device in plant.devices
        }
        self._units = {
            tag.topic: "" if tag.row.unit == "1" else tag.row.unit
            for device in plant.devices
            for group in device.groups
            for tag in group.tags
        }
        self._started_at_s = monotonic_s()
        self._line_up = True

    def run(self, *, seconds: float | None, outage_s: float | None) -> None:
        """Tell the whole story. Raises DemoFailed when it ends otherwise than promised."""
        self._started_at_s = self._site.start_gateway()
        self._wait(self._every_device_speaks, FIRST_VALUES_TIMEOUT_S, self._silence)
        first_at_s = self._site.watcher.seen().first_at_s or self._started_at_s
        waited_s = first_at_s - self._started_at_s
        self._show()
        self._screen.say(
            f"{self._stamp()}  every machine speaks; the first value came {waited_s:.1f} s after "
            "the gateway's processes were started"
        )
        if outage_s:
            self._live_for(BEFORE_OUTAGE_S)
            self._live_through(outage_s)
        if seconds is None:
            while True:
                self._live_for(3_600.0)
        self._live_for(seconds - (monotonic_s() - self._started_at_s))
        self._show()
        if not self._every_device_speaks():
            raise DemoFailed(self._silence())
        self._check_writes()
        protocols = ", ".join(sorted(self._devices))
        self._screen.say(f"{self._stamp()}  values flowed from every machine: {protocols}")

    def _check_writes(self) -> None:
        if refused := self._site.refused_writes():
            raise DemoFailed(f"somebody asked a machine to change: {', '.join(refused)}")

    def _every_device_speaks(self) -> bool:
        return not self._silent_devices()

    def _silent_devices(self) -> list[str]:
        latest = self._site.watcher.seen().latest
        good = {
            topic
            for topic, each in latest.items()
            if each.quality == "Good" and each.age_s < FRESH_S
        }
        return [name for name, topics in self._devices.items() if not topics & good]

    def _silence(self) -> str:
        silent = ", ".join(self._silent_devices())
        log = self._site.gateway.tail()
        return f"no Good value younger than {FRESH_S:g} s from: {silent}\n{log}"

    def _live_through(self, outage_s: float) -> None:
        """Cut the WAN, let the queue fill, and compare what waited with what arrives."""
        site, screen = self._site, self._screen
        before = site.watcher.seen()
        screen.say(
            f"{self._stamp()}  WAN cut for {outage_s:g} s: the gateway cannot reach the broker"
        )
        site.wan.stop()
        self._line_up = False
        until_s = monotonic_s() + outage_s
        while (left_s := until_s - monotonic_s()) > 0:
            self._live_for(min(TELL_DEPTH_EVERY_S, left_s))
            screen.say(f"{self._stamp()}  queue depth {self._depth()}")
        expected = site.backlog()
        waiting = site.watcher.missing(expected)
        site.wan.start()
        self._line_up = True
        screen.say(
            f"{self._stamp()}  WAN is back; {len(waiting):,} samples wait for the uplink's next try"
        )
        if not waiting:
            raise DemoFailed(
                f"nothing waited in the queue although {outage_s:g} s passed without WAN\n"
                f"{site.gateway.tail()}"
            )

        def arrived() -> bool:
            return not site.watcher.missing(expected)

        self._wait(arrived, BACKLOG_TIMEOUT_S, lambda: self._lost(waiting))
        after = site.watcher.seen()
        screen.say(
            f"{self._stamp()}  backlog arrived: all {len(waiting):,} waiting samples, none missing "
            f"({after.historical - before.historical:,} marked as history, "
            f"{after.repeats - before.repeats:,} repeated)"
        )

    def _lost(self, waiting: set[str]) -> str:
        missing = self._site.watcher.missing(waiting)
        some = ", ".join(sorted(missing)[:MISSING_SHOWN])
        text = f"{len(missing):,} of {len(waiting):,} waiting samples did not arrive within "
        return f"{text}{BACKLOG_TIMEOUT_S:g} s: {some} …\n{self._site.gateway.tail()}"

    def _wait(
        self, condition: Callable[[], bool], timeout_s: float, complaint: Callable[[], str]
    ) -> None:
        until_s = monotonic_s() + timeout_s
        while not condition():
            if monotonic_s() > until_s:
                raise DemoFailed(complaint())
            self._moment()

    def _live_for(self, seconds: float) -> None:
        until_s = monotonic_s() + seconds
        while monotonic_s() < until_s:
            self._moment()

    def _moment(self) -> None:
        """Show the present and wait for the next picture. Every wait of the story comes here."""
        self._show()
        if self._stopping.requested:
            raise StopRequested
        if dead := self._site.failed_child():
            self._check_writes()
            raise DemoFailed(f"{dead.name} ended by itself\n{dead.tail()}")
        with self._stopping.interruptible():
            pause()

    def _show(self) -> None:
        seen = self._site.watcher.seen()
        rows = tuple(
            Row(topic.removeprefix(f"{self._root}/"), unit, seen.latest.get(topic))
            for topic, unit in self._units.items()
        )
        at_s = monotonic_s() - self._started_at_s
        depth = self._site.queue_depth()
        self._screen.show(Picture(at_s, rows, seen.messages, depth, self._line_up))

    def _stamp(self) -> str:
        return stamp(monotonic_s() - self._started_at_s)

    def _depth(self) -> str:
        depth = self._site.queue_depth()
        return "unknown" if depth is None else f"{depth:,}"
