"""Counters that an ERP can book: increments and a total that survive roll-over, reset and restart.

    raw    4294967290  4294967295  3          0 (reset)   5
    delta              5           4          0, in doubt 5
    total  0           5           9          9           14

A counter that falls has rolled over or was reset. With a modulus it rolled over if it can have:
the way over the top is shorter than half of the modulus. Otherwise it was reset, and began at 0
(or below what it shows now): what it shows was counted since; what was counted between the last
reading and the reset nobody knows, so the value is Uncertain.

The state is committed in the same transaction as the record that it follows from, so that neither a
restart of the gateway nor an outage counts anything twice or not at all.
"""

from typing import NamedTuple

import msgspec

from common.records import Quality


class CounterState(msgspec.Struct, frozen=True, array_like=True):
    """What must outlive the process. Fields are only appended."""

    raw: int
    """As read last."""
    total: int
    """Increments since the gateway first read the counter."""
    address: str = ""
    """Where it was read; empty in states of before this was kept."""


def encode_state(state: CounterState) -> bytes:
    """Return a state as the queue keeps it."""
    return msgspec.msgpack.encode(state)


def decode_state(stored: bytes) -> CounterState:
    """Return the state. Raises msgspec.DecodeError."""
    return msgspec.msgpack.decode(stored, type=CounterState)


class Counted(NamedTuple):
    """What one reading means."""

    state: CounterState
    delta: int
    quality: int
    """Good, or Uncertain for an increment that is a lower bound."""


def counted(state: CounterState | None, raw: int, modulus: int) -> Counted:
    """Return what a reading means after the one before; `modulus` 0: it never rolls over.

    A first reading counts nothing: what was counted before was never the gateway's.
    """
    if state is None:
        return Counted(CounterState(raw, 0), 0, Quality.GOOD)
    delta, quality = raw - state.raw, Quality.GOOD
    if delta < 0:
        over_the_top = raw + modulus - state.raw
        if modulus and 0 <= over_the_top <= modulus // 2:
            delta = over_the_top
        else:
            delta, quality = max(raw, 0), Quality.UNCERTAIN
    return Counted(CounterState(raw, state.total + delta), delta, quality)
