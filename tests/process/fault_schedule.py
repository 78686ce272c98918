"""Faults for a whole site, drawn from a seed: who is killed or stopped, when, and for how long.

Faults come from a deck that is shuffled, dealt card by card and shuffled again: every kind occurs
in every round, their order and moments are random. They overlap: what is stopped may be killed,
and what was just killed may be hit again while it starts.

    kill, kill several       SIGKILL of one process, of two to four at once
    pause, pause several     SIGSTOP, and SIGCONT up to PAUSE_MOST_S later: hung, not dead
    kill supervisord         its children are told by the kernel; a new one starts them again
    kill all                 supervisord and everything below it at once
    cut                      the WAN swallows everything for a while, breaks, and is away

A seed repeats the faults, not the run: what a process does at that moment is up to the machine.
"""

import heapq
import itertools
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.process.gateway_site import COLLECTORS, MACHINES, PROGRAMS, GatewaySite, wait_until

DECK = (
    *("kill",) * 10,
    *("pause",) * 5,
    *("kill several",) * 2,
    "pause several",
    "kill supervisord",
    "kill all",
    *("cut",) * 3,
)
BETWEEN_S = (0.1, 2.0)
PAUSE_MOST_S = 3.0
SWALLOW_MOST_S = 1.5
AWAY_MOST_S = 4.0
START_MOST_S = 5.0
"""Until a fault finds somebody to hit, after all were killed."""


class Faults:
    """Does harm to one site and undoes it in the end."""

    def __init__(self, site: GatewaySite, seed: int) -> None:
        self._site = site
        self._choose = random.Random(seed)
        self._deck: list[str] = []
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self._began_s = time.monotonic()
        self._line_is_up = True
        self.kills = self.stops = self.cuts = 0
        self.disconnects = 1
        """How often an uplink may have had to begin again: it was hit, or the line was; the end."""
        self.journal: list[str] = []
        """What was done, for whoever reads why a run failed."""
        self._say(f"seed {seed}")

    @property
    def signals(self) -> int:
        """How many processes were killed or stopped."""
        return self.kills + self.stops

    def run(self, signals: int, *, most_s: float) -> None:
        """Deal a whole deck, and on until so many were hit or the time is over; then heal."""
        until_s, dealt = time.monotonic() + most_s, 0
        while time.monotonic() < until_s and (dealt < len(DECK) or self.signals < signals):
            if not self._deck:
                self._deck = self._choose.sample(DECK, len(DECK))
            self._wait(self._choose.uniform(*BETWEEN_S))
            self._deal(self._deck.pop())
            dealt += 1
        self.heal()

    def heal(self) -> None:
        """Undo whatever still lasts, at once."""
        while self._due:
            heapq.heappop(self._due)[2]()
        self._say("healed")

    def alive(self) -> dict[str, int]:
        """Return the pid of every program that has a process, straight from the kernel."""
        found = {}
        for pid in self._site.process_tree():
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                name = "-".join(words[words.index("-m") + 1 :][:2]) if "-m" in words else ""
                found |= {each: pid for each in PROGRAMS if name.startswith(_spoken(each))}
        return found

    def _deal(self, card: str) -> None:
        {
            "kill": lambda: self._signal(signal.SIGKILL, 1),
            "kill several": lambda: self._signal(signal.SIGKILL, self._choose.randint(2, 4)),
            "pause": lambda: self._signal(signal.SIGSTOP, 1),
            "pause several": lambda: self._signal(signal.SIGSTOP, self._choose.randint(2, 4)),
            "kill supervisord": self._kill_supervisord,
            "kill all": self._kill_all,
            "cut": self._cut,
        }[card]()

    def _signal(self, number: signal.Signals, processes: int) -> None:
        until_s = time.monotonic() + START_MOST_S
        while not (alive := self.alive()) and time.monotonic() < until_s:
            self._wait(0.05)
        names = self._choose.sample(sorted(alive), min(processes, len(alive)))
        self.disconnects += "uplink-uns" in names
        for name in names:
            with suppress(ProcessLookupError):
                os.kill(alive[name], number)
                if number is signal.SIGKILL:
                    self.kills += 1
                else:
                    self.stops += 1
                    self._later(self._choose.uniform(0, PAUSE_MOST_S), _go_on(alive[name]))
        self._say(f"{number.name} {', '.join(names)}")

    def _kill_supervisord(self) -> None:
        if self._site.gateway.running:
            self._say("SIGKILL supervisord")
            self._site.gateway.kill()
            self.kills += 1
            self.disconnects += 1
            self._later(self._choose.uniform(0, 1), self._site.gateway.start)

    def _kill_all(self) -> None:
        """From the top, so that nobody restarts what was killed; a stopped process dies as well."""
        if self._site.gateway.running:
            pids = list(self._site.process_tree())
            self.disconnects += 1
            self._say(f"SIGKILL supervisord and {len(pids) - 1} below it")
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.kills += 1
            self._site.gateway.kill()  # It is dead; this waits for the kernel to say so.
            self._later(self._choose.uniform(0, 1), self._site.gateway.start)

    def _cut(self) -> None:
        """First a black hole: what is published into it is never answered, and never arrives."""
        if not self._line_is_up:
            return
        self._line_is_up = False
        self.cuts += 1
        self.disconnects += 1
        swallow_s = self._choose.choice([0.0, self._choose.uniform(0, SWALLOW_MOST_S)])
        away_s = self._choose.uniform(0, AWAY_MOST_S)
        self._say(f"the WAN swallows all for {swallow_s:.1f} s and is away for {away_s:.1f} s")
        os.kill(self._site.wan.pid, signal.SIGSTOP)
        self._later(swallow_s, self._site.wan.kill)
        self._later(swallow_s + away_s, self._mend)

    def _mend(self) -> None:
        self._site.wan.start()
        self._line_is_up = True

    def _later(self, delay_s: float, act: Callable[[], object]) -> None:
        heapq.heappush(self._due, (time.monotonic() + delay_s, next(self._order), act))

    def _wait(self, wait_s: float) -> None:
        """Let the time pass, undoing what is due."""
        until_s = time.monotonic() + wait_s
        while (now_s := time.monotonic()) < until_s:
            while self._due and self._due[0][0] <= now_s:
                heapq.heappop(self._due)[2]()
            next_s = self._due[0][0] if self._due else until_s
            time.sleep(max(0.0, min(until_s, next_s) - time.monotonic()))

    def _say(self, line: str) -> None:
        self.journal.append(f"{time.monotonic() - self._began_s:7.2f} s  {line}")

    def settle(self, timeout_s: float = 60) -> None:
        """Wait until all programs run again, stop reading, and wait for the queue to drain."""
        site = self._site
        wait_until(self._everything_runs, timeout_s, lambda: self._why("all running"))
        before = site.audit.last_sequence
        wait_until(
            lambda: site.topics_alive(after=before) == len(MACHINES),
            timeout_s,
            lambda: self._why("a fresh value of every machine"),
        )
        for program in COLLECTORS:
            site.supervisor("stopProcess", program)
        wait_until(
            lambda: site.audit.caught_up and not site.missing(),
            timeout_s,
            lambda: self._why(f"all committed arrived; missing {sorted(site.missing())[:9]} …"),
        )

    def _everything_runs(self) -> bool:
        try:
            found = self._site.supervisor("getAllProcessInfo")
        except OSError:  # supervisord is starting.
            return False
        return all(each["statename"] == "RUNNING" for each in found)

    def _why(self, wanted: str) -> str:
        return "\n".join([wanted, *self.journal, self._site.tail()])


def _spoken(program: str) -> str:
    """Return how a program's command line names it: `collectors modbus` is collector-modbus."""
    return program.replace("collector-", "collectors-")


def _go_on(pid: int) -> Callable[[], object]:
    def act() -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    return act
