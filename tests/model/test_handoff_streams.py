"""Goal: committed is what was put, once and in order, or counted to the sample; whatever happens.

Method: a hypothesis state machine drives the two state machines of the handoff through crashes of
either side at any instant, lost connections, full rings, reboots, other versions and a full queue,
against the plain lists of handoff_world.py. At the end everything heals, within a bounded number
of steps. Counter-examples that it found are kept below as stories.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.model.handoff_world import (
    GROUPS,
    OVERSIZED_BYTES,
    STATES_AT,
    STATES_END,
    Ring,
    World,
)

FEW = st.integers(0, 6)
SIZES = st.sampled_from([30, 60, 200, OVERSIZED_BYTES])


def reboot(ring: Ring) -> None:
    ring[8] ^= 0xFF


def damage(ring: Ring) -> None:
    ring[STATES_AT:STATES_END] = bytes(STATES_END - STATES_AT)


class CalmMachine(RuleBasedStateMachine):
    """Nobody crashes and no message is lost: then nothing is ever sent twice."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(which=st.integers(0, 2), samples=st.integers(1, 5), size=SIZES, count=st.integers(1, 6))
    def put(self, which: int, samples: int, size: int, count: int) -> None:
        groups = sorted(self.world.configured)
        for i in range(count):
            self.world.put(groups[(which + i) % len(groups)], samples, size)

    @rule(seconds=st.sampled_from([0.1, 0.35, 1.0, 3.5, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.time_passes(seconds)

    @precondition(lambda self: self.world.far_is_free)
    @rule(most=st.sampled_from([1, 2, 5, 100]))
    def far_hears(self, most: int) -> None:
        self.world.far_hears(most)

    @precondition(lambda self: self.world.pending)
    @rule()
    def commit(self) -> None:
        self.world.commit()

    @precondition(lambda self: self.world.unacknowledged)
    @rule()
    def acknowledge(self) -> None:
        self.world.acknowledge()

    @precondition(lambda self: self.world.far_is_free)
    @rule(rounds=st.integers(1, 4))
    def all_is_well_for_a_while(self, rounds: int) -> None:
        for _ in range(rounds):
            self.world.one_round(0.35)

    @rule(most=st.sampled_from([1, 2, 5, 100]))
    def near_hears(self, most: int) -> None:
        self.world.near_hears(most)

    @rule(full=st.booleans())
    def queue_fills_or_drains(self, full: bool) -> None:  # noqa: FBT001 - drawn
        self.world.closed = full

    @invariant()
    def what_holds_at_every_instant(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        try:
            self.world.heal()
        finally:
            self.world.remove()


class FaultyMachine(CalmMachine):
    """The same with everything that can happen to a collector, a normalizer or the wires."""

    @rule(which=st.integers(0, 2), size=SIZES, writes=st.integers(0, 6))
    def killed_in_put(self, which: int, size: int, writes: int) -> None:
        groups = sorted(self.world.configured)
        self.world.put(groups[which % len(groups)], 3, size, killed_after=writes)

    @rule(arrive=FEW)
    def near_crashes(self, arrive: int) -> None:
        self.world.near_crashes(arrive)

    @rule(arrive=FEW)
    def far_crashes(self, arrive: int) -> None:
        self.world.far_crashes(arrive)

    @precondition(lambda self: self.world.far_is_free)
    @rule(committed=st.booleans())
    def far_crashes_with_scans_in_hand(self, committed: bool) -> None:  # noqa: FBT001 - drawn
        self.world.far_hears()
        if committed:
            self.world.commit()
        self.world.near_hears()
        self.world.far_crashes()

    @rule(to_far=FEW, to_near=FEW)
    def connection_breaks(self, to_far: int, to_near: int) -> None:
        self.world.connection_breaks(to_far, to_near)

    @rule(
        configured=st.dictionaries(st.sampled_from(GROUPS), st.integers(0, 1), min_size=1),
        plans_lost=st.booleans(),
    )
    def near_is_configured_anew(self, configured: dict[str, int], plans_lost: bool) -> None:  # noqa: FBT001 - drawn
        self.world.configured = configured
        if plans_lost:
            self.world.plans_are_lost()
        self.world.near_crashes()

    @rule(damaged=st.booleans(), arrive=FEW)
    def new_epoch(self, damaged: bool, arrive: int) -> None:  # noqa: FBT001 - drawn
        self.world.begin_new_epoch(damage if damaged else reboot, arrive)

    @precondition(lambda self: self.world.far_is_free and self.world.ended())
    @rule()
    def messages_of_an_ended_epoch_come(self) -> None:
        for message in self.world.ended():
            self.world.hear_one(message)
        assert not self.world.pending, "nothing of an ended epoch is taken"

    @rule(fit=st.booleans())
    def replies_fit_or_are_dropped(self, fit: bool) -> None:  # noqa: FBT001 - drawn
        self.world.replies_fit = fit

    @rule(mismatch=st.booleans(), far=st.booleans())
    def one_side_is_replaced_by_another_version(self, mismatch: bool, far: bool) -> None:  # noqa: FBT001 - drawn
        self.world.mismatch = mismatch
        if far:
            self.world.far_crashes()
        else:
            self.world.near_crashes()


TestCalmHandoff = CalmMachine.TestCase
TestCalmHandoff.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestFaultyHandoff = FaultyMachine.TestCase
TestFaultyHandoff.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
