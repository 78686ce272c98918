"""Goal: the backlog gets what the line bears, and no more than its share and its rate.

Method: a line of so many bytes a second and so long a way is played in steps of a clock of our
own. What this cannot show: what live messages on the same line add to the times.
"""

import pytest
from test_drain_accounting import Numbered

from uplink.drain import Drain, Item
from uplink.share import BYTES_FIRST, BackfillShare

WINDOW = 1_000
MESSAGE_BYTES = 200
STEP_S = 0.001


class Line:
    """Everything in flight passes one after another, then the way there and back."""

    def __init__(self, share: BackfillShare, bytes_per_s: float, way_s: float) -> None:
        self.share = share
        self.bytes_per_s = bytes_per_s
        self.way_s = way_s
        self.drain: Drain[Numbered] = Drain(0)
        self.sequence = 0
        self.now_s = 1.0
        self.free_at_s = 0.0
        self.answers: list[tuple[float, int]] = []
        self.ticket = self.answered = 0

    def run(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            while self.answers and self.answers[0][0] <= self.now_s:
                _, ticket = self.answers.pop(0)
                del self.drain.in_flight[ticket]
                self.drain.in_flight_bytes -= MESSAGE_BYTES
                self.share.answered(ticket, self.now_s)
                self.answered += 1
            while self.share.open(self.drain, WINDOW, self.now_s):  # type: ignore[arg-type]
                if self.drain.hungry:
                    self.sequence += 1
                    self.drain.feed([(Numbered(self.sequence), WINDOW)])
                item: Item[Numbered] | None = self.drain.next(self.now_s)
                if item is None:
                    continue  # The record has no more.
                item.payload = bytes(MESSAGE_BYTES)
                self.ticket += 1
                self.drain.published(item, self.ticket)
                self.share.published(self.ticket, MESSAGE_BYTES, self.now_s)
                begins_s = max(self.now_s, self.free_at_s)
                self.free_at_s = begins_s + MESSAGE_BYTES / self.bytes_per_s
                self.answers.append((self.free_at_s + self.way_s, self.ticket))
            self.now_s += STEP_S

    @property
    def waits_s(self) -> float:
        """How long a live message published now would wait for the backlog before it."""
        return max(0.0, self.free_at_s - self.now_s)


def test_on_a_slow_line_little_of_the_backlog_stands_before_a_live_message() -> None:
    """64 kbit/s. Seen to bite: without the limit in bytes it was 12 s."""
    line = Line(BackfillShare(0.5, 0), 8_000, 0.05)
    waits_s = []
    for _ in range(300):
        line.run(0.2)
        waits_s.append(line.waits_s)

    assert max(waits_s) < 1.5
    assert sorted(waits_s[100:])[100] < 0.3, "as a rule"
    assert line.answered * MESSAGE_BYTES > 0.5 * 8_000 * 60, "and the line is used"


def test_on_a_fast_line_the_backlog_grows_into_its_share() -> None:
    line = Line(BackfillShare(0.5, 0), 10e6, 0.002)
    line.run(5)

    assert line.share.bytes_max > 4 * BYTES_FIRST
    assert line.answered > 5 * 10e6 / MESSAGE_BYTES / 4


def test_a_long_way_alone_is_no_reason_to_shrink() -> None:
    """800 ms for each answer, whatever is sent."""
    line = Line(BackfillShare(0.5, 0), 10e6, 0.8)
    line.run(60)

    assert len(line.drain.in_flight) == WINDOW // 2, "the whole share is in flight"


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_its_share_of_the_window_is_not_exceeded(share: float) -> None:
    line = Line(BackfillShare(share, 0), 1e9, 0.001)
    for _ in range(50):
        line.run(0.01)
        assert len(line.drain.in_flight) <= share * WINDOW


def test_a_window_of_one_message_lets_one_through() -> None:
    share = BackfillShare(0.05, 0)
    drain: Drain[Numbered] = Drain(0)

    assert share.open(drain, 1, 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [0.5, 7.0, 300.0])
def test_its_rate_is_not_exceeded_and_is_reached(rate: float) -> None:
    line = Line(BackfillShare(0.5, rate), 1e9, 0.001)
    line.run(20)

    assert line.ticket <= 20 * rate * 1.01 + max(1, rate / 10)
    assert line.ticket >= 20 * rate * 0.9 - 1
