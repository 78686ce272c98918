"""Goal: everything in the queue reaches the broker, in order, once where nothing fails, as itself.

Method: the real process drains a real queue to a real broker over TLS 1.3; a second client of the
broker keeps everything that arrives.
"""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from uplink_rig import (
    EDGE,
    GATEWAY,
    OPEN,
    ROOT,
    Site,
    Subscriber,
    wait_until,
)

from common.clock import now_ns
from common.queue import QueueReader
from common.records import Gap
from demo.broker import EmbeddedBroker, MosquittoBroker
from demo.pki import Pki

pytestmark = pytest.mark.process

RECORDS, TAGS = 200, 8


@pytest.fixture(params=["embedded", "mosquitto"])
def broker(
    request: pytest.FixtureRequest, tmp_path: Path, pki: Pki
) -> EmbeddedBroker | MosquittoBroker:
    folder = tmp_path / "broker"
    if request.param == "embedded":
        return EmbeddedBroker(folder, pki)
    return MosquittoBroker(folder, pki, settings=OPEN)


def test_every_sample_arrives_once_in_order_with_its_identity(
    broker: EmbeddedBroker | MosquittoBroker, site: Site, subscribe: Callable[..., Subscriber]
) -> None:
    with broker:
        subscriber = subscribe(broker.port)
        site.configure(broker.port, drain="ordered")
        last = site.fill(RECORDS, TAGS)
        site.start()
        wait_until(lambda: len(subscriber.payloads()) >= RECORDS * TAGS, "every sample arrived")
        wait_until(lambda: site.detail.get("acked_sequence") == last, "the health file says so")
        assert site.stop() == 0

    expected = [(sequence, index) for sequence in range(1, last + 1) for index in range(TAGS)]
    assert subscriber.identities() == expected, "each sample once, in order"
    reader = QueueReader.open(site.data_dir / "queue")
    epoch = reader.epoch
    reader.close()
    assert subscriber.payloads()[0]["id"] == f"{GATEWAY}:{epoch}:1:0"
    sample = subscriber.on(f"{ROOT}/Press_Machine/Tag_3")[7]
    assert (sample["value"], sample["quality"]) == (10.0, "Good")
    assert site.position() == last, "the cursor covers what was acknowledged"


def test_the_broker_is_told_that_it_is_json_and_keeps_the_newest_value(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    with MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker:
        site.configure(broker.port)
        last = site.fill(RECORDS, TAGS)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "all is acknowledged")

        late = subscribe(broker.port)
        wait_until(lambda: len(late.payloads()) >= TAGS, "a late subscriber sees current values")

    assert sorted(late.identities()) == [(last, index) for index in range(TAGS)]
    assert all(retained for _, payload, retained in late.messages if "id" in payload)
    assert late.properties is not None
    assert late.properties.ContentType == "application/json"
    assert late.properties.PayloadFormatIndicator == 1


def test_history_is_marked_and_a_gap_is_told_in_its_place(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    gap = Gap("press", "process", "outbox-full", 1_000_000_000, 2_000_000_000, 3, 12)
    with MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker:
        subscriber = subscribe(broker.port)
        site.configure(broker.port, drain="ordered")
        site.fill(1, 2, read_at_ns=now_ns() - 3_600 * 10**9, gaps=[gap])
        last = site.fill(1, 2)
        site.start()
        wait_until(lambda: len(subscriber.payloads()) >= 5, "everything arrived")
        site.stop()

    assert subscriber.identities() == [(1, 0), (1, 1), (2, "gap"), (last, 0), (last, 1)]
    assert [each.get("hist") for each in subscriber.payloads()] == [True, True, None, None, None]
    (told,) = subscriber.on(f"{EDGE}/gap")
    assert (told["cause"], told["scans"], told["samples"]) == ("outbox-full", 3, 12)


def test_new_records_follow_at_once_and_the_queue_may_come_later(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    with MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker:
        subscriber = subscribe(broker.port)
        site.configure(broker.port)
        process = site.start()
        wait_until(lambda: site.health and site.health.state == "waiting", "it waits")
        assert "waiting for the queue" in site.log
        for sequence in range(1, 4):
            site.fill(1, 2)
            wait_until(lambda n=sequence: len(subscriber.payloads()) == 2 * n, "it arrived")  # type: ignore[misc]
        assert process.poll() is None
        site.stop()


def test_subscribers_learn_whether_the_gateway_lives(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    with MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker:
        subscriber = subscribe(broker.port)
        site.configure(broker.port)
        site.fill(2)

        def told() -> list[bool]:
            return [each["online"] for each in subscriber.on(f"{EDGE}/status")]

        site.start()
        wait_until(lambda: told() == [True], "online on connect")
        assert site.stop() == 0
        wait_until(lambda: told() == [True, False], "offline, said by itself")
        site.start()
        wait_until(lambda: told() == [True, False, True], "online again")
        site.stop(signal.SIGKILL)
        wait_until(lambda: told() == [True, False, True, False], "offline, by its will")

        late = subscribe(broker.port)
        wait_until(lambda: late.on(f"{EDGE}/status"), "the status is retained")
    status = subscriber.on(f"{EDGE}/status")[0]
    assert (status["target"], status["queue_depth"], status["acked_sequence"]) == ("uns", 2, 0)


def test_a_target_that_is_not_configured_leaves_the_process_idle(site: Site) -> None:
    (site.config_dir / "it" / "cloud.toml").write_text("")

    process = site.start()

    wait_until(lambda: site.health and site.health.state == "idle", "it is idle")
    assert process.poll() is None
    assert site.stop() == 0
    assert site.log.count("no such target") == 1


def test_a_wrong_it_half_is_waited_out_with_every_finding(site: Site) -> None:
    (site.config_dir / "it" / "cloud.toml").write_text('[targets.uns]\nkind = "mqt"\nprot = 1\n')

    process = site.start()
    wait_until(lambda: site.detail.get("state") == "refused", "it says that it cannot begin")

    said = site.detail["error"]
    assert all(text in said for text in ("did you mean 'mqtt'", "'prot'", "'host'"))
    assert all(text in site.log for text in ("did you mean 'mqtt'", "'prot'", "'host'"))
    assert process.poll() is None
    assert site.stop() == 0


def test_a_gateway_without_a_name_ends_the_process(site: Site) -> None:
    """That is OT's half, which is refused before the start: here it went wrong later."""
    (site.config_dir / "ot" / "plant.toml").write_text("[gateway]\n")

    code = site.start().wait(10)

    assert code == 78
    assert "missing required key 'id'" in site.log


def test_a_second_uplink_of_the_same_target_is_refused(
    site: Site, pki: Pki, tmp_path: Path
) -> None:
    with MosquittoBroker(tmp_path / "broker", pki) as broker:
        site.configure(broker.port)
        first = site.start()
        wait_until(lambda: site.health, "the first one runs")

        assert site.start().wait(10) == 1
        assert "already runs" in site.log

        first.terminate()
        assert first.wait(10) == 0
