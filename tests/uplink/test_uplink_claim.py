"""Goal: what an uplink has not settled holds back how far it reads, and nothing else.

Method: the real process against a scripted broker that never answers the first message, and all
others at once. What the claim is good for is shown in tests/unit/uplink/test_intake.py.
"""

import pytest
from scripted_broker import Published, ScriptedBroker, take
from uplink_rig import Site, wait_until

from demo.pki import Pki
from uplink.intake import AHEAD_RECORDS

pytestmark = pytest.mark.process

RECORDS = AHEAD_RECORDS + 3_000


def test_nothing_beyond_the_claim_is_published_and_everything_arrives_in_the_end(
    site: Site, pki: Pki
) -> None:
    """Seen to bite: without a limit every record was published behind the first one."""
    beyond: list[int] = []

    def answers(message: Published) -> list[bytes]:
        if message.connection > 1 or not message.number:
            return take(message)
        sequence = message.place[0]
        if sequence > AHEAD_RECORDS:
            beyond.append(sequence)
        return [] if sequence == 1 else take(message)

    with ScriptedBroker(pki, answers) as broker:
        last = site.fill(RECORDS, 1)
        site.configure(broker.port, drain="ordered", in_flight_max=50, reply_timeout_s=10)
        site.start()
        wait_until(lambda: len(broker.samples) >= AHEAD_RECORDS, "all of the claim is published")
        assert site.detail["acked_sequence"] == 0
        wait_until(lambda: len(broker.connects) == 2, "the first message is overdue")
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is taken")
        assert site.stop() == 0

    assert beyond == []
    first = [each for each in broker.samples if each.connection == 1]
    assert len(first) == AHEAD_RECORDS, "and within it each once"
    assert {each.place[0] for each in broker.samples} == set(range(1, last + 1))
