"""Goal: `tailrace queue` tells the truth by its output and its exit code, and disturbs nobody.

Method: the real command in a process of its own, on queues made by the real writer.
"""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from common.block import Layout, Part
from common.queue import Bounds, QueueReader, QueueWriter
from common.records import Plan, ValueType
from tests.unit.console.filled_queue import IN_BODY, column, create, damage, fill
from tests.unit.console.test_queue_stat import drained

pytestmark = pytest.mark.process

HOUSE = Path(__file__).resolve().parents[2]
COMMITS = 20
NOISE = Layout(
    Plan(
        "simulated",
        "noise",
        "fast",
        "Noise",
        100,
        tuple(column("Noise", f"t{i}", ValueType.FLOAT64) for i in range(100)),
    )
)


def line(folder: Path, verb: str, *arguments: str) -> list[str]:
    """Return the command line of one verb on a gateway that stands in one folder."""
    places = [f"--{name}={folder}" for name in ("config", "data")] + [f"--run={folder / 'run'}"]
    return [sys.executable, "-m", "console", "queue", verb, *places, *arguments]


def tailrace(folder: Path, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one verb to its end."""
    return subprocess.run(
        line(folder, verb, *arguments),
        cwd=HOUSE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Path]:
    """Return a stopped gateway: twenty blocks, of which uns has had five."""
    queue = create(tmp_path)
    fill(queue, COMMITS)
    queue.close()
    drained(tmp_path, "uns", 20)
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "cloud.toml").write_text("[targets.uns]\n")
    return tmp_path


def test_stat_shows_what_waits_for_whom_and_what_became_of_the_rest(filled: Path) -> None:
    told = tailrace(filled, "stat")
    found = json.loads(tailrace(filled, "stat", "--json").stdout)

    assert told.returncode == 0
    assert "the normalizer does not run" in told.stdout
    assert found["targets"][0]["samples"] == 15 * 8
    assert found["total"]["delivered"] == 5 * 8
    assert found["total"]["unexplained"] == 0
    assert "\x1b" not in told.stdout, "no colours where nobody sees them"


def test_peek_shows_the_newest(filled: Path) -> None:
    told = tailrace(filled, "peek", "--count", "2", "--json")
    nothing = tailrace(filled, "peek", "--tag", "nowhere*")

    assert [json.loads(each)["sequence"] for each in told.stdout.splitlines()] == [80, 80]
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert "holds nothing of that" in nothing.stderr


def test_verify_ends_with_1_when_a_block_is_damaged(filled: Path) -> None:
    """Seen to bite: exit code 0 whatever was found."""
    sound = tailrace(filled, "verify")
    damage(filled, 3, IN_BODY)
    told = tailrace(filled, "verify")
    found = json.loads(tailrace(filled, "verify", "--json").stdout)

    assert (sound.returncode, sound.stdout[:2]) == (0, "OK")
    assert told.returncode == 1
    assert told.stdout.startswith("NOT SOUND")
    assert [each["first_sequence"] for each in found["damaged"]] == [13]


def test_export_writes_results_to_stdout_and_its_count_to_stderr(filled: Path) -> None:
    told = tailrace(filled, "export", "--tag", "power", "--after", "40")

    rows = list(csv.DictReader(io.StringIO(told.stdout)))
    assert told.returncode == 0
    assert [row["sequence"] for row in rows] == [str(s) for s in range(42, 81, 4)]
    assert {row["topic"] for row in rows} == {"Acme/SiteA/Meter/Power_kW"}
    assert told.stderr.strip() == "10 samples and 0 gaps"


def test_export_between_two_times_in_another_zone(filled: Path) -> None:
    """The first commit is read at 22:13:21 UTC, one every four seconds."""
    window = ("--from", "2023-11-14T23:13:25+01:00", "--to", "2023-11-14T22:13:33")

    told = tailrace(filled, "export", "--format", "jsonl", *window)

    sequences = {json.loads(each)["sequence"] for each in told.stdout.splitlines()}
    assert sequences == set(range(5, 13))


def test_export_never_overwrites_unasked(filled: Path) -> None:
    path = filled / "out.csv"
    path.write_text("mine")

    refused = tailrace(filled, "export", "--output", str(path))
    kept = path.read_text()
    forced = tailrace(filled, "export", "--output", str(path), "--force")

    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert kept == "mine"
    assert forced.returncode == 0
    assert path.read_text().startswith("sequence,index,read_at")


def test_a_reader_that_has_enough_ends_the_export_without_a_traceback(filled: Path) -> None:
    """As `| head` does."""
    queue = QueueWriter.create(filled / "queue")
    for _ in range(20):
        queue.append([noise(queue) for _ in range(50)], plans=[NOISE.plan])
    queue.close()

    with subprocess.Popen(
        line(filled, "export"),
        cwd=HOUSE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as export:
        assert export.stdout is not None
        assert export.stderr is not None
        export.stdout.readline()
        export.stdout.close()
        complaint = export.stderr.read()

    assert "Traceback" not in complaint
    assert "Exception" not in complaint


def test_drop_without_yes_tells_what_would_go_and_drops_nothing(filled: Path) -> None:
    """Seen to bite: dropping before asking."""
    told = tailrace(filled, "drop", "--up-to", "60")

    after = json.loads(tailrace(filled, "stat", "--json").stdout)
    assert told.returncode == 1
    assert "Would drop 30 records with 80 samples, up to sequence 60" in told.stdout
    assert "uns" in told.stdout
    assert "add --yes" in told.stderr
    assert after["targets"][0]["samples"] == 15 * 8


def test_drop_with_yes_drops_and_the_ledger_explains_it(filled: Path) -> None:
    told = tailrace(filled, "drop", "--up-to", "60", "--yes")

    after = json.loads(tailrace(filled, "stat", "--json").stdout)
    lost = after["total"]["lost"]["dropped-by-operator"]
    assert told.returncode == 0
    assert "Dropped 30 records with 80 samples" in told.stdout
    assert "start normalizer" in told.stderr
    assert after["targets"][0]["samples"] == 5 * 8
    assert (lost["samples"], lost["scans"]) == (80, 30)
    assert after["total"]["unexplained"] == 0
    assert tailrace(filled, "verify").returncode == 0


def test_a_drop_that_does_not_say_what_is_wrong_usage(filled: Path) -> None:
    nothing = tailrace(filled, "drop", "--yes")
    two = tailrace(filled, "drop", "--all", "--up-to", "4", "--yes")
    no_time = tailrace(filled, "drop", "--before", "yesterday", "--yes")

    assert [each.returncode for each in (nothing, two, no_time)] == [2, 2, 2]
    assert "one of --all, --up-to, --before" in nothing.stderr
    assert "2026-11-23T10:15" in no_time.stderr


@pytest.mark.parametrize("verb", ["stat", "peek", "verify", "export", "drop --all --yes"])
def test_where_there_is_no_queue_every_verb_says_so_and_makes_none(
    tmp_path: Path, verb: str
) -> None:
    """Seen to bite: opened for writing, the drop creates an empty one."""
    told = tailrace(tmp_path, *verb.split())

    assert told.returncode == 3
    assert f"no queue at {tmp_path / 'queue'} yet" in told.stderr
    assert "Traceback" not in told.stderr
    assert list(tmp_path.iterdir()) == []


def test_looking_beside_a_writer_that_drops_and_merges_is_always_consistent(
    tmp_path: Path,
) -> None:
    """The queue is at its capacity all the while, so blocks vanish and merge under the readers.

    Seen to bite: accounts and blocks of instants 50 ms apart compared with each other.
    """
    queue = QueueWriter.create(tmp_path / "queue", Bounds(capacity_bytes=2 * 1024**2))
    while not queue.ledger().total.lost:
        queue.append([noise(queue) for _ in range(50)], plans=[NOISE.plan])
    verbs = ("verify", "stat", "peek", "export", "verify")
    told = []
    for verb in verbs:
        with subprocess.Popen(
            line(tmp_path, verb),
            cwd=HOUSE,
            stdout=subprocess.PIPE if verb != "export" else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as looking:
            while looking.poll() is None:
                queue.append([noise(queue) for _ in range(50)], plans=[NOISE.plan])
                queue.maintain()
            told.append((verb, looking.returncode, looking.stderr.read() if looking.stderr else ""))
    lost = queue.ledger().total.lost
    queue.close()

    assert [(verb, code) for verb, code, _ in told] == [(verb, 0) for verb in verbs], told
    assert lost["queue-full"].samples > 0, "data was dropped meanwhile"
    reader = QueueReader.open(tmp_path / "queue")
    assert reader.ledger().total.unexplained == 0
    reader.close()


def noise(queue: QueueWriter) -> Part:
    """Return a scan that does not compress."""
    rng = np.random.default_rng(queue.last_sequence())
    return Part(NOISE, 1_700_000_000 * 10**9, {ValueType.FLOAT64: rng.random(100)}, 100)
