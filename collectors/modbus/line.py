"""One line and everybody on it: opened by one, asked by one at a time, in the order of asking.

    Link of unit 1 ──┐                    turn     first come, first served; one request in flight
    Link of unit 2 ──┼── Line ── Channel  opening  one attempt at a time, one back-off for all
    Link of unit 7 ──┘                    probing  who does not answer gets little of the line

A unit that does not answer is its own trouble: its session ends, the others' go on. The line as a
whole is lost when its connection is, and when SILENT_MOST units that had been answering fall silent
one after the other; then every session on it ends. docs/decisions/0016 says why it is built so.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, nullcontext
from typing import Protocol
from weakref import WeakSet

from collectors.modbus.framing import AsciiFraming, Framing, MbapFraming, RtuFraming
from collectors.modbus.linesettings import LineSettings
from collectors.modbus.transports import Channel, LineLost, open_channel
from collectors.runner import reconnect_delays_s
from collectors.traffic import Traffic
from common.clock import monotonic_s
from common.errors import SourceUnavailable

SILENT_MOST = 3
"""So many units in a row that had been answering: it is the line that is silent, not they."""
PROBE_SHARE = 0.05
"""Of the line's time that units which do not answer may cost those which do."""
PROBE_LEAST_S = 0.02
PROBE_PATIENCE = 4
"""A probe waits so many times as long as replies of the line and of the unit usually take."""

_SILENCE_CHARACTERS = 3.5
_SILENCE_FAST_S = 0.00175
_FAST_BAUD = 19_200
"""MODBUS over Serial Line V1.02, 2.5.1.1: above this rate the silence is a fixed time."""
_SETTLE_S = 0.02
_SETTLE_MOST_S = 1.0
_FRAMINGS: dict[str, type[Framing]] = {
    "rtu": RtuFraming,
    "rtu-over-tcp": RtuFraming,
    "ascii": AsciiFraming,
    "ascii-over-tcp": AsciiFraming,
}


class Neighbour(Protocol):
    """What a line knows of a device on it: link.py."""

    traffic: Traffic
    reply_timeout_s: float
    pause_s: float
    answering: bool
    """It answered the last request."""
    unanswered: int
    """Requests since it last answered."""
    unreached: bool
    """A gateway said so, in its own time, when it was asked last."""
    told: bool
    """Its session ended in SourceUnavailable, or did not begin, and it has not answered since."""
    losses_seen: int
    """The line's `losses` when its session began."""

    def unavailable(self, reason: str) -> SourceUnavailable:
        """Return the reason as a sentence about the device, and remember that it was told."""
        ...


class Line:
    """A connection or port that comes and goes, and the order in which it is used."""

    def __init__(self, settings: LineSettings) -> None:
        self.settings = settings
        self.framing: Framing = _FRAMINGS.get(settings.transport, MbapFraming)()
        self.transaction = 0
        self.members: WeakSet[Neighbour] = WeakSet()
        """Every device that is configured on the line, reachable or not."""
        self._sessions: set[Neighbour] = set()
        self._losses = 0
        self._reason = ""
        self._channel: Channel | None = None
        self._turn = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._attempts_failed = 0
        self._delays_s: Iterator[float] | None = None
        """None while the line is in order."""
        self._next_attempt_at_s = 0.0
        self._probing = asyncio.Lock()
        self._next_probe_at_s = 0.0
        self._grace_until_s = 0.0
        self._silent_in_a_row = 0
        self._replies = Traffic()
        self._used_at_s = 0.0
        self._unsettled = False

    async def enter(self, link: Neighbour) -> None:
        """Begin a session, with the line open. Raises SourceUnavailable.

        A device that shares its line is told of an outage once, and then waits here for its end:
        everybody is back as soon as the line is, not when his own back-off happens to be over.
        """
        while True:
            try:
                await self._opened(link)
            except LineLost as lost:
                if len(self.members) == 1 or not link.told:
                    raise link.unavailable(str(lost)) from lost
            else:
                break
        link.losses_seen = self._losses
        self._sessions.add(link)

    def leave(self, link: Neighbour) -> None:
        """End a session; the last one closes the line."""
        link.answering = False
        self._sessions.discard(link)
        if not self._sessions:
            self._close()

    @asynccontextmanager
    async def turn(self, link: Neighbour) -> AsyncIterator[Channel]:
        """Wait for the link's turn, and keep the line for the length of the block.

        Raises SourceUnavailable when the line was lost since the session began, or in the block.
        """
        # A device that was never heard of has its first request free: nobody should have to wait
        # for the others' share to be told that it is away.
        probing = link.told and not self._bearable(link)
        async with self._probing if probing else nullcontext():
            while True:
                if probing:
                    await asyncio.sleep(max(0.0, self._next_probe_at_s - monotonic_s()))
                async with self._turn:
                    if probing and self._next_probe_at_s > monotonic_s():
                        continue  # The last probe turned out to have cost more, while we waited.
                    if link.losses_seen != self._losses:
                        raise link.unavailable(self._reason)
                    try:
                        yield await self._opened(link)
                    except LineLost as lost:
                        self.lose(str(lost))
                        raise link.unavailable(str(lost)) from lost
                return

    def timeout_s(self, link: Neighbour) -> float:
        """Return how long a reply of the link may take: less for one that has not been answering.

        Every second probe is of the length that replies usually take, every fourth four times that,
        and so on up to the whole reply timeout: a unit that has become slow is found, more rarely.
        A gateway may be busy with what was asked of an absent unit for longer than we waited; that
        time is the next one's as well.
        """
        if self._bearable(link) or link.unreached or not link.unanswered:
            return link.reply_timeout_s + max(0.0, self._grace_until_s - monotonic_s())
        usual_s = max(each.quantile_s(0.95) or 0.0 for each in (self._replies, link.traffic))
        trailing_zeros = (link.unanswered & -link.unanswered).bit_length() - 1
        patient_s = max(PROBE_LEAST_S, PROBE_PATIENCE * usual_s) * (1 << 2 * trailing_zeros)
        return min(link.reply_timeout_s, patient_s)

    async def rest(self, channel: Channel, pause_s: float) -> None:
        """Wait until the line may be used: its silence between frames, the pause that is wanted."""
        if self.framing.ordered and (self._unsettled or channel.received):
            await channel.settle(max(_SETTLE_S, self._silence_s()), _SETTLE_MOST_S)
        self._unsettled = False
        until_s = self._used_at_s + max(pause_s, self._silence_s())
        if (wait_s := until_s - monotonic_s()) > 0:
            await asyncio.sleep(wait_s)

    def used(self, *, orderly: bool) -> None:
        """Note the end of an exchange; after one in disorder the line is listened to first."""
        self._used_at_s = monotonic_s()
        self._unsettled = self._unsettled or not orderly

    def answered(self, link: Neighbour, reply_s: float) -> None:
        """Note a reply."""
        self._replies.answered(reply_s)
        self._silent_in_a_row = 0
        self._delays_s = None
        if self._grace_until_s:
            # The first reply after a probe in vain: what it took, the probe has cost as well.
            self._next_probe_at_s += reply_s / PROBE_SHARE
            self._grace_until_s = 0.0
        link.answering, link.unanswered, link.told = True, 0, False
        link.unreached = False

    def unreached(self, link: Neighbour, spent_s: float) -> None:
        """Note that a gateway answered in the place of the unit: the line is in order."""
        self._silent_in_a_row = 0
        self._delays_s = None
        link.answering, link.unreached = False, True
        link.unanswered += 1
        if link.told:
            self._next_probe_at_s = monotonic_s() + spent_s / PROBE_SHARE

    def unanswered(self, link: Neighbour, spent_s: float) -> None:
        """Note a request that got no reply; whose trouble it is, is found here."""
        probed, had_answered = link.told, link.answering
        link.answering = False
        link.unanswered += 1
        if not self._others_answer(link):
            # A peer that lost its power never closes its connection: only a new one tells.
            self._close()
            return
        if probed:
            self._next_probe_at_s = monotonic_s() + spent_s / PROBE_SHARE
            self._grace_until_s = monotonic_s() + link.reply_timeout_s - spent_s
        if not had_answered:
            return
        self._silent_in_a_row += 1
        if self._silent_in_a_row >= SILENT_MOST:
            self.lose(f"is silent: {SILENT_MOST} units in a row did not answer; check the line")

    def lose(self, reason: str) -> None:
        """Close the line and end every session on it."""
        self._put_off(reason)
        self._losses += 1
        self._silent_in_a_row = 0
        for link in self._sessions:
            link.answering = False
        self._close()

    def _others_answer(self, link: Neighbour) -> bool:
        return any(each.answering for each in self._sessions if each is not link)

    def _bearable(self, link: Neighbour) -> bool:
        """True when nobody suffers from waiting for the link."""
        return link.answering or not self._others_answer(link)

    def _silence_s(self) -> float:
        """Between two frames on a serial line."""
        if self.settings.baudrate > _FAST_BAUD:
            return _SILENCE_FAST_S
        return _SILENCE_CHARACTERS * self.settings.character_s

    async def _opened(self, link: Neighbour) -> Channel:
        """Return the open channel. Raises LineLost when the attempt fails, whoever made it."""
        failed_before = self._attempts_failed
        if self._channel is None:
            async with self._opening:
                await self._open_once(link, failed_before)
        assert self._channel is not None  # noqa: S101 - or LineLost was raised
        return self._channel

    async def _open_once(self, link: Neighbour, failed_before: int) -> None:
        if self._channel is not None:
            return
        if self._attempts_failed != failed_before:
            # Somebody tried while we waited for the lock: his outcome is ours.
            raise LineLost(self._reason)
        await asyncio.sleep(max(0.0, self._next_attempt_at_s - monotonic_s()))
        try:
            self._channel = await open_channel(self.settings, link.reply_timeout_s)
        except (LineLost, SourceUnavailable) as error:
            self._put_off(str(error))
            raise LineLost(str(error)) from error
        self._unsettled = True

    def _put_off(self, reason: str) -> None:
        self._attempts_failed += 1
        self._reason = reason
        if self._delays_s is None:
            self._delays_s = reconnect_delays_s()
        self._next_attempt_at_s = monotonic_s() + next(self._delays_s)

    def _close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
