"""Goal: a queue that somebody restored from a copy delivers again, under identities of its own.

Method: the real process on a queue whose file is exchanged by hand, before and after its writer
gives it a new epoch, as the normalizer does at its start. No supervisor: where the process ends so
that it opens the queue anew, the test starts it again.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from uplink_rig import OPEN, Site, Subscriber, wait_until

from common.queue import QueueReader
from demo.broker import MosquittoBroker
from demo.pki import Pki

pytestmark = pytest.mark.process

RECORDS, TAGS = 20, 2


def epoch_of(site: Site) -> int:
    reader = QueueReader.open(site.data_dir / "queue")
    reader.close()
    return reader.epoch


def copied(site: Site) -> Path:
    """Return a copy of the queue as it is now."""
    copy = site.data_dir / "copy.mdb"
    shutil.copy(site.data_dir / "queue" / "data.mdb", copy)
    return copy


def restore(site: Site, copy: Path) -> None:
    """Put a copy in the queue's place."""
    copy.rename(site.data_dir / "queue" / "data.mdb")


def epochs(subscriber: Subscriber) -> dict[int, set[tuple[int, int]]]:
    """Return {epoch: {(sequence, index)}} of everything that arrived."""
    found: dict[int, set[tuple[int, int]]] = {}
    for payload in subscriber.payloads():
        _, epoch, sequence, index = payload["id"].split(":")
        found.setdefault(int(epoch), set()).add((int(sequence), int(index)))
    return found


def identities(last: int) -> set[tuple[int, int]]:
    return {(sequence, index) for sequence in range(1, last + 1) for index in range(TAGS)}


def test_an_older_copy_under_a_newer_cursor_is_waited_for_and_then_delivered_anew(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    """Seen to bite: the uplink was `live`, and waited for sequences that would never come again."""
    with MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker:
        subscriber = subscribe(broker.port)
        site.configure(broker.port)
        site.fill(RECORDS, TAGS)
        copy = copied(site)
        last = site.fill(RECORDS, TAGS)
        old_epoch = epoch_of(site)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is taken")
        site.stop()

        restore(site, copy)
        process = site.start()
        wait_until(lambda: "an older copy" in str(site.detail.get("error")), "it says what it sees")
        assert site.health is not None
        assert (site.health.state, site.detail["state"]) == ("waiting", "away")
        fresh = site.fill(RECORDS, TAGS)
        wait_until(lambda: site.detail.get("acked_sequence") == fresh, "it goes on by itself")
        assert process.poll() is None
        assert site.detail["error"] is None
        new_epoch = epoch_of(site)
        site.stop()

    assert new_epoch != old_epoch
    assert epochs(subscriber) == {old_epoch: identities(last), new_epoch: identities(fresh)}
    assert site.log.count("an older copy") == 1


def test_fresh_data_never_leaves_under_the_epoch_of_the_copy(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    """The copy is from before this target began, so nothing tells the uplink that it is one.

    Seen to bite: what was appended after the new epoch began left under the old one, with
    sequences that a consumer had seen, who would have dropped it as a repeat.
    """
    with MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker:
        subscriber = subscribe(broker.port)
        site.configure(broker.port)
        first = site.fill(RECORDS, TAGS)
        old_epoch = epoch_of(site)
        restore(site, copied(site))
        process = site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == first, "the copy is delivered")

        last = site.fill(RECORDS, TAGS)
        assert process.wait(10) == 1, "it ends, to be started again"
        assert "new epoch" in site.log
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "all is delivered anew")
        new_epoch = epoch_of(site)
        site.stop()

    assert epochs(subscriber) == {old_epoch: identities(first), new_epoch: identities(last)}
