"""Goal: nothing counts as delivered before a barrier behind it is acknowledged; then all does.

Method: a state machine drives the account against a plain list of what was sent, in any order of
sending, raising, acknowledging and refusing.

Seen to bite: `taken` confirming up to the newest ticket; a refused barrier that still covers; an
acknowledgement answering for messages sent after its barrier.
"""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from uplink.sparkplug.barrier import BYTES_MAX, INTERVAL_S, PAUSE_S, Barrier


class BarrierAccount(RuleBasedStateMachine):
    """The account against what a person would write down."""

    def __init__(self) -> None:
        super().__init__()
        self.barrier = Barrier(5)
        self.sent: list[int] = []
        self.confirmed: list[int] = []
        self.open: dict[int, int] = {}
        """Barrier → how many had been sent when it was raised."""
        self.now_s = 100.0
        self.own = 0

    @rule(size=st.integers(1, 1_000))
    def send(self, size: int) -> None:
        self.sent.append(len(self.sent) + 1)
        self.barrier.sent(self.sent[-1], size)

    @rule()
    def raise_one(self) -> None:
        self.own += 1
        self.barrier.raised(self.own, self.now_s)
        self.open[self.own] = len(self.sent)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        own = data.draw(st.sampled_from(sorted(self.open)))
        before = self.open.pop(own)
        found = self.barrier.taken(own)
        assert found == [t for t in self.sent[:before] if t not in self.confirmed]
        self.confirmed += found

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        own = data.draw(st.sampled_from(sorted(self.open)))
        del self.open[own]
        self.barrier.refused(own, self.now_s)
        assert not self.barrier.due(self.now_s, idle=True), "not at once again"

    @rule(seconds=st.floats(0, 3))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @invariant()
    def all_is_accounted_for(self) -> None:
        assert self.barrier.unconfirmed == len(self.sent) - len(self.confirmed)

    @invariant()
    def what_no_barrier_covers_makes_one_due_when_the_drain_waits(self) -> None:
        covered = max(self.open.values(), default=0)
        open_ones = [t for t in self.sent[covered:] if t not in self.confirmed]
        later_s = self.now_s + PAUSE_S + INTERVAL_S
        assert self.barrier.due(later_s, idle=True) == bool(open_ones)


TestBarrierAccount = BarrierAccount.TestCase


def test_one_is_due_after_so_many_messages_and_not_before() -> None:
    barrier = Barrier(3)
    due = []
    for ticket in (1, 2, 3):
        barrier.sent(ticket, 10)
        due.append(barrier.due(0.0, idle=False))

    assert due == [False, False, True]


def test_one_is_due_after_so_many_bytes() -> None:
    barrier = Barrier(1_000)
    barrier.sent(1, BYTES_MAX)

    assert barrier.due(0.0, idle=False)


def test_while_the_drain_waits_they_are_not_raised_faster_than_the_cursor_moves() -> None:
    barrier = Barrier(1_000)
    barrier.sent(1, 10)
    at_once = barrier.due(5.0, idle=True)
    barrier.raised(1, 5.0)
    barrier.sent(2, 10)

    assert at_once, "the first one need not wait"
    assert not barrier.due(5.0 + INTERVAL_S / 2, idle=True)
    assert barrier.due(5.0 + INTERVAL_S, idle=True)
