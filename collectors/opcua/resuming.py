"""Subscriptions that outlived their session: taken over by the next one, with what they had to say.

A server keeps a subscription, and the messages nobody acknowledged, for LIFETIME_S after a
network was cut. Whoever takes it over in that time misses nothing (10000-4, 5.14.7 and 6.7).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from asyncua.ua.uaerrors import UaStatusCodeError

from collectors.opcua.client import LIFETIME_S
from collectors.opcua.link import Facts, Link
from collectors.opcua.subscription import Subscription
from collectors.opcua.wire import Publication
from common.clock import monotonic_s

INITIAL_S, INITIAL_PERIODS = 2.0, 3
"""Values that the server did not send again after this time, or so many periods, are read."""


class Left(NamedTuple):
    """One subscription, as a lost session left it."""

    id: int
    sequence: int
    silence_limit_s: float


@dataclass(frozen=True)
class Standing:
    """What a lost session left at its server."""

    started: Any
    """When the server was started: a restarted one may give the same ids to somebody else."""
    namespaces: tuple[str, ...]
    left_s: float
    subscriptions: dict[int, Left]
    """By number of the group."""


def standing_of(facts: Facts, subscriptions: list[Subscription]) -> Standing | None:
    """Return what could be taken over from a session that is lost now; None for nothing."""
    left = {
        each.number: Left(each.id, each.sequence, each.silence_limit_s)
        for each in subscriptions
        if not each.unproven
    }
    if facts.started is None or not left:
        return None
    return Standing(facts.started, facts.namespaces, monotonic_s(), left)


async def resume(
    link: Link, standing: Standing | None, facts: Facts, subscriptions: list[Subscription]
) -> dict[int, list[Publication]]:
    """Take over what is left; return by group's number what was published and not received.

    Groups that are not in it need a new subscription. Raises ERRORS when the connection is lost.
    """
    if standing is None or (standing.started, standing.namespaces) != (
        facts.started,
        facts.namespaces,
    ):
        return {}
    if monotonic_s() - standing.left_s > LIFETIME_S:
        return {}
    wanted = [each for each in subscriptions if each.number in standing.subscriptions]
    ids = [standing.subscriptions[each.number].id for each in wanted]
    try:
        results = await link.transfer(ids)
    except UaStatusCodeError:
        return {}  # It knows no transfer, or nothing of these any more.
    missed: dict[int, list[Publication]] = {}
    for subscription, result in zip(wanted, results, strict=False):
        if result.StatusCode.is_good():
            left = standing.subscriptions[subscription.number]
            subscription.id, subscription.sequence = left.id, left.sequence
            subscription.silence_limit_s = left.silence_limit_s
            available = sorted(result.AvailableSequenceNumbers or ())
            missed[subscription.number] = await _republished(link, subscription, available)
            within_s = max(INITIAL_S, INITIAL_PERIODS * subscription.publishing_ms / 1000)
            subscription.hear()
            subscription.resumed = subscription.unproven = True
            # One keep-alive and a half; asyncua's server, for one, hands over and goes silent.
            subscription.prove_until_s = monotonic_s() + left.silence_limit_s / 2
            subscription.expect(range(len(subscription.items)), within_s)
    return missed


async def _republished(
    link: Link, subscription: Subscription, available: list[int]
) -> list[Publication]:
    """Return the messages after the last one that was received, as far as the server has them."""
    found: list[Publication] = []
    for sequence in available:
        if sequence <= subscription.sequence:
            continue
        try:
            publication = await link.republish(subscription.id, sequence)
        except UaStatusCodeError:
            continue
        # asyncua's server answers a number that it does not have by an empty message.
        if publication.sequence == sequence and publication.has_data:
            found.append(publication)
    # What is not there any more is the hole that BadNoCommunication has marked already.
    subscription.sequence = max(available, default=subscription.sequence)
    return found
