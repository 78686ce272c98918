"""The acknowledged hop from a collector to the normalizer: DEALER → ROUTER over a Unix socket.

Who is responsible
    A scan belongs to the collector's outbox from `HandoffSender.put` until the normalizer
    acknowledges it, which it does only after its commit. Repeats are dropped by the normalizer,
    which keeps the last committed (epoch, sequence) of each collector in the same transaction as
    the records. So every scan is committed exactly once, or counted as lost.

Messages, first frame the kind
    collector → normalizer
        H  version u16 · epoch u64 · oldest u64 · sent u64      here I am; what have you got?
        P  encoded plan
        S  epoch u64 · sequence u64 · oldest u64 · scans u64 · samples u64 · plan 16 │ encoded scan
    normalizer → collector
        A  session u64 · epoch u64 · committed u64 · received u64
        H  the same, the answer to a hello
        B  the same: begin again after `received`; something in between is missing
        W  plan 16                                               send me this plan
        G                                                        greet me first: I am new here
        R  reason                                                I do not speak your version

    Sequences of one epoch have no holes, except that those before `oldest` are gone for good.
    A hello is answered in turn, so `received` below the `sent` of that hello proves a loss on
    the way; no timer guesses one. A slow disk therefore never causes a storm of repeats.

Limits
    256 scans or 4 MiB in flight per collector: this bounds the normalizer's memory. A message
    is 16 MiB at the most. The socket lives in the run directory, 0700.
"""

from common.handoff.receiver import Delivery, HandoffReceiver
from common.handoff.sender import HandoffSender
from common.handoff.wire import handoff_address

__all__ = ["Delivery", "HandoffReceiver", "HandoffSender", "handoff_address"]
