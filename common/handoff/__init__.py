"""The acknowledged hop from a collector to the normalizer: DEALER → ROUTER over a Unix socket.

Who is responsible
    A scan belongs to the collector's outbox from `HandoffSender.put` until the normalizer
    acknowledges it, which it does only after its commit. Repeats are dropped by the normalizer,
    which keeps the last committed (epoch, sequence) of each collector in the same transaction as
    the records. So every scan is committed exactly once, or counted as lost.

Messages of version 2, first frame the kind
    collector → normalizer
        H  version u16 · epoch u64 · oldest u64 · sent u64 · run u64 · greeting u64
                                                                 here I am; what have you got?
        P  plan 16 │ encoded plan, or nothing                    the plan asked for; a hello follows
        S  epoch u64 · sequence u64 · oldest u64 · scans u64 · samples u64 · plan 16 │ encoded scan
        C  epoch u64 · sequence u64 · oldest u64 · number u64 │ msgpack [key 16, device, group,
           scans, samples] of every group           what I have read in all, up to `sequence`
    normalizer → collector
        A  run u64 · greeting u64 · asked u64 · committed u64 · received u64 · told u64
                                                                 committed up to here
        H  the same                                              the answer to a hello: go on
        F  the same                                              the queue is full: keep your scans
        W  plan 16                                               send me this plan
        G                                                        greet me: something is missing, or
                                                                 there is room again
        R  reason                                                I do not take anything from you

    Sequences of one epoch have no holes, except that those before `oldest` are gone for good.
    A hello is answered in turn, and the answer repeats its `sent` as `asked`: `received` below it
    proves a loss on the way, and the sender begins again after `received`. Nothing else makes it
    send a scan twice, and no timer guesses: a slow disk causes no repeats, however long it takes.
    Answers to a hello from before the last such beginning prove nothing more. `run` names the
    process that said hello: answers meant for its predecessor are not heard.

    Counts speak for groups from which no later scan comes: every scan too large, or the group gone
    from the configuration. They are told behind the last scan, when scans were dropped or an
    earlier process may have died with one in hand; again when the answer to a later hello does not
    confirm them (`told`), that is after 3 s; and new losses at most once a minute. They are taken
    only when everything before them has arrived.

    An epoch ends for good when its collector greets with another one. A second collector of the
    same name, which only a broken lock allows, takes the name over; the first is refused when it
    comes back, and their streams do not mix. After 10 s without an answer a collector connects
    anew: ZeroMQ leaves a connection whose name was taken open and unheard.

Limits
    Under way per collector: 256 scans, or 4 MiB and one scan; twice that for a moment when it has
    to begin again. A message frame is 8 MiB at the most, and of each connection ZeroMQ holds 64
    messages: this bounds the normalizer's memory against a collector gone wrong, not against one
    that was written to harm. The socket lives in the run directory, 0700.
    64 collectors. One that never brought a scan makes room for the next; the others keep theirs.
"""

from common.handoff.receiver import HandoffReceiver
from common.handoff.receiving import Counts, Delivery
from common.handoff.sender import HandoffSender
from common.handoff.wire import handoff_address
from common.outbox import GroupCount

__all__ = [
    "Counts",
    "Delivery",
    "GroupCount",
    "HandoffReceiver",
    "HandoffSender",
    "handoff_address",
]
