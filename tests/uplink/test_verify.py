"""Goal: `tailrace verify` says that everything adds up when it does, and finds what does not.

Method: the real uplink drains to one broker while a subscriber records what comes; the record is
published to another broker, as it was or altered on purpose, and verified there. Then the command
itself against a running uplink.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from line import Line
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from uplink_rig import EDGE, GATEWAY, OPEN, ROOT, Certificates, Site, Subscriber, wait_until

from common.clock import monotonic_s
from common.records import Gap
from console.verify_text import verify_text
from console.verifying import Listening, Verification, topics_of
from demo.broker import MosquittoBroker
from demo.pki import Pki
from demo.tls import consumer_context
from subscribers.listening import Address

pytestmark = pytest.mark.process

RECORDS, TAGS = 40, 4
GAP_SAMPLES = 24
Told = tuple[str, dict[str, Any], bool]
Story = list[Told]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Story:
    """What the real uplink tells of 80 records and a gap: statuses, samples and the gap."""
    folder = tmp_path_factory.mktemp("story")
    (folder / "site").mkdir()
    site = Site(folder / "site", certificates.pki)
    lost = Gap("press", "process", "outbox-full", 10**18, 2 * 10**18, 6, GAP_SAMPLES)
    with MosquittoBroker(folder / "broker", certificates.pki, settings=OPEN) as broker:
        subscriber = Subscriber(broker.port, certificates.pki, certificates.lake)
        try:
            site.configure(broker.port)
            site.fill(RECORDS, TAGS, gaps=[lost])
            last = site.fill(RECORDS, TAGS)
            site.start()
            wait_until(lambda: site.detail.get("acked_sequence") == last, "all is delivered")
            site.stop()
            site.start()  # It says at once what it has delivered, and need not be waited for.
            wait_until(lambda: _at_rest(subscriber), "it says that nothing is queued")
            site.stop(signal.SIGKILL)
        finally:
            subscriber.close()
            site.stop(signal.SIGKILL)
    return [(topic, payload, retain) for topic, payload, retain in subscriber.messages]


def _at_rest(subscriber: Subscriber) -> bool:
    said = subscriber.on(f"{EDGE}/status")
    return bool(said) and said[-1].get("queue_depth") == 0 and "ledger" in said[-1]


def record(sequence: int) -> Callable[[Told], bool]:
    return lambda told: told[1].get("id", "").split(":")[2:3] == [str(sequence)]


def sample(sequence: int, index: int) -> Callable[[Told], bool]:
    return lambda told: told[1].get("id", "").endswith(f":{sequence}:{index}")


def without(story: Story, dropped: Callable[[Told], bool]) -> Story:
    return [told for told in story if not dropped(told)]


class Heard:
    """What `verify` finds in messages that are published to a broker of its own."""

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        self._folder = folder
        self._pki = certificates.pki
        self._lake = certificates.lake

    def __call__(self, story: Story, *, broken: bool = False) -> Verification:
        """`broken`: its own connection breaks after half of them, and the rest comes meanwhile."""
        lake = self._lake
        half = len(story) // 2 if broken else len(story)
        with (
            MosquittoBroker(self._folder, self._pki, settings=OPEN) as broker,
            Line(broker.port) as line,
        ):
            address = Address(
                *("127.0.0.1", line.port, self._pki.ca_file, lake.cert_file, lake.key_file)
            )
            listening = Listening(address, topics_of(self._folder, ROOT), "uns")
            listening.subscription.open()
            for part in (story[:half], story[half:]):
                publish(broker.port, self._pki, part)
                before = listening.messages
                until_s = monotonic_s() + 30
                while listening.messages < before + len(part):
                    listening.step()
                    assert monotonic_s() < until_s, "every message comes"
                if broken and not listening.reconnects:
                    line.reset()
            listening.subscription.close()
        return listening.found(1.0)


def publish(port: int, pki: Pki, story: Story) -> None:
    client = Client(
        CallbackAPIVersion.VERSION2, client_id="story", protocol=MQTTProtocolVersion.MQTTv5
    )
    client.tls_set_context(consumer_context(pki.ca_file, pki.client))
    client.connect("127.0.0.1", port)
    client.loop_start()
    sent = [
        client.publish(topic, json.dumps(payload), qos=1, retain=retain)
        for topic, payload, retain in story
    ]
    for each in sent:
        each.wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


@pytest.fixture
def heard(tmp_path: Path, certificates: Certificates) -> Heard:
    return Heard(tmp_path / "verified", certificates)


def test_what_the_uplink_tells_adds_up(story: Story, heard: Heard) -> None:
    found = heard(story)

    (verdict,) = found.gateways
    assert found.sound, verify_text(found)
    assert verdict.comparison is not None
    assert verdict.samples == verdict.comparison.arrived == 2 * RECORDS * TAGS
    assert verdict.comparison.named_in_gaps == GAP_SAMPLES
    assert verdict.comparison.lost == GAP_SAMPLES
    assert verdict.comparison.collected == 2 * RECORDS * TAGS + GAP_SAMPLES
    assert verdict.missing == verdict.disorder == 0
    assert "Everything adds up." in verify_text(found)
    assert found.assets == {f"{ROOT}/Press_Machine": 2 * RECORDS * TAGS}


def test_repeats_are_counted_and_change_nothing(story: Story, heard: Heard) -> None:
    """As after a lost connection: the last messages come again."""
    data = without(story, lambda told: "id" not in told[1])
    told = [message[1]["id"] for message in data]
    by_the_lanes = len(told) - len(set(told))  # The newest values come first, and in their turn.

    found = heard([*data[:100], *data[60:100], *story])

    assert found.sound, verify_text(found)
    assert found.gateways[0].repeats == 140 + by_the_lanes


def test_its_own_connection_may_break_without_a_hole(story: Story, heard: Heard) -> None:
    """Seen to bite: connected anew with a clean start, the broker kept nothing for it."""
    found = heard(story, broken=True)

    assert found.sound, verify_text(found)
    assert found.reconnects == 1
    assert not found.session_lost


@pytest.mark.parametrize(
    ("altered", "finding"),
    [
        pytest.param(
            lambda story: without(story, sample(17, 2)),
            "1 samples fewer than the gateway delivered",
            id="one sample dropped",
        ),
        pytest.param(
            lambda story: without(story, record(17)),
            "1 sequences never came and no gap tells them: 17",
            id="one record dropped",
        ),
        pytest.param(
            lambda story: without(story, lambda told: told[0].endswith("/gap")),
            f"{GAP_SAMPLES} samples fewer",
            id="a gap dropped",
        ),
        pytest.param(
            lambda story: [
                *without(story[:-1], record(20)),
                *filter(record(20), story),
                story[-1],
            ],
            f"{TAGS} samples came behind newer ones of their topic",
            id="a record behind newer ones",
        ),
        pytest.param(
            lambda story: [
                *story[:-1],
                (f"{ROOT}/Press_Machine/Tag_0", {"value": 1, "id": f"{GATEWAY}:1:5:0"}, True),
                story[-1],
            ],
            "",
            id="a message of an older epoch",
        ),
        pytest.param(
            lambda story: [(f"{ROOT}/Press_Machine/Bare", {"value": 1}, True), *story],
            "1 messages have no identity to judge by",
            id="a message without an identity",
        ),
        pytest.param(
            lambda story: without(story, lambda told: told[0].endswith("/status")),
            "not compared",
            id="no status",
        ),
    ],
)
def test_what_does_not_add_up_is_found(
    story: Story, heard: Heard, altered: Callable[[Story], Story], finding: str
) -> None:
    """These are the bites: each alteration is one that a broker or a bridge could make."""
    found = heard(altered(story))

    if finding:
        assert not found.sound
        assert any(finding in line for line in verify_text(found)), verify_text(found)
    else:
        assert found.gateways[0].epochs_before == 1


def test_what_is_set_aside_at_the_gateway_is_counted_in(story: Story, heard: Heard) -> None:
    """A broker refused one sample of record 17, and the status says so."""
    refused = [
        (topic, {**payload, "set_aside": 1} if topic.endswith("/status") else payload, retain)
        for topic, payload, retain in without(story, sample(17, 2))
    ]
    found = heard(refused)

    assert found.sound, verify_text(found)
    assert found.gateways[0].comparison is not None
    assert found.gateways[0].comparison.set_aside == 1


@pytest.fixture
def broker(tmp_path: Path, pki: Pki) -> Iterator[MosquittoBroker]:
    with MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker:
        yield broker


def tailrace(site: Site, certificates: Certificates, *line: str) -> list[str]:
    lake = certificates.lake
    return [
        *(sys.executable, "-m", "console", "verify", *line),
        *("--cert", str(lake.cert_file), "--key", str(lake.key_file)),
        *(f"--config={site.config_dir}", f"--run={site.run_dir}", f"--data={site.data_dir}"),
    ]


def test_the_command_joins_a_running_gateway_and_ends_when_all_adds_up(
    site: Site, certificates: Certificates, broker: MosquittoBroker
) -> None:
    """It comes in the middle: what it compares lies between two statuses."""
    site.configure(broker.port)
    last = site.fill(RECORDS, TAGS)
    site.start()
    wait_until(lambda: site.detail.get("acked_sequence") == last, "the gateway is at work")
    command = tailrace(
        site, certificates, "--target", "uns", "--until-complete", "--seconds", "60", "--json"
    )
    verify = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    more = 0

    def ended() -> bool:
        nonlocal more
        if verify.poll() is None:
            site.fill(2, TAGS)
            more += 1
        return verify.poll() is not None

    wait_until(ended, "it ends by itself", 60)
    told = json.loads(verify.communicate()[0])
    assert site.stop() == 0

    (verdict,) = told["found"]["gateways"]
    assert (verify.returncode, told["sound"]) == (0, True), told
    assert verdict["comparison"]["difference"] == 0
    assert 0 < verdict["comparison"]["arrived"] <= 2 * more * TAGS
    assert verdict["first"] > last, "what came before it is not its business"


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        (["--url", "mqtts://127.0.0.1:1"], 3, "cannot be reached"),
        (["--url", "mqtt://127.0.0.1:1883"], 2, "only TLS is spoken"),
        (["--target", "lake"], 2, "no target 'lake'"),
        ([], 2, "say where"),
    ],
)
def test_what_cannot_be_verified_says_why(
    site: Site, certificates: Certificates, line: list[str], code: int, text: str
) -> None:
    site.configure(1)
    command = tailrace(site, certificates, *line, "--ca", str(certificates.pki.ca_file))
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == code, done.stderr
    assert text in done.stderr
