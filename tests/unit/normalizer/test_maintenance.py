"""Goal: the queue's upkeep takes a share of the time, never all of it; autonomy is honest."""

from pathlib import Path

import pytest

from common.errors import ConfigError, DiskFull
from common.health import read_health
from common.process import Stopping, StopRequested
from common.queue import Bounds, QueueWriter, WhenFull
from normalizer import maintenance, opening
from normalizer.maintenance import Inflow, Maintenance


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(maintenance, "monotonic_s", clock)
    return clock


class Upkeep:
    """A queue with `slices` slices of work left, each of which takes 10 ms."""

    def __init__(self, clock: Clock, slices: int) -> None:
        self.clock = clock
        self.left = self.all = slices

    def maintain(self) -> bool:
        self.left -= 1
        self.clock.now_s += 0.01
        return self.left > 0


def test_however_much_there_is_to_do_most_of_the_time_is_left_to_scans(clock: Clock) -> None:
    """Seen to bite: without the rest, every step of the loop does a slice."""
    upkeep = Upkeep(clock, slices=10_000)
    keeper = Maintenance(upkeep)  # type: ignore[arg-type] # only maintain() is asked of it

    begun_s = clock.now_s
    for _ in range(1_000):
        keeper.run_when_due()
        clock.now_s += 0.005  # A scan is received and committed.
    busy_s = (upkeep.all - upkeep.left) * 0.01

    assert 0.15 < busy_s / (clock.now_s - begun_s) < 0.25


def test_with_nothing_to_do_it_looks_a_few_times_a_second(clock: Clock) -> None:
    upkeep = Upkeep(clock, slices=0)
    keeper = Maintenance(upkeep)  # type: ignore[arg-type] # as above

    keeper.run_when_due()

    assert keeper.wait_s == maintenance.IDLE_S
    keeper.run_when_due()
    assert upkeep.left == -1, "not again at once"


def test_autonomy_is_space_divided_by_what_comes_in_and_stays(clock: Clock) -> None:
    inflow = Inflow()
    for _ in range(600):
        clock.now_s += 1
        inflow.add(1_000)

    assert inflow.hours_until_full(3_600_000, kept_share=1.0) == pytest.approx(1.0)
    assert inflow.hours_until_full(3_600_000, kept_share=0.5) == pytest.approx(2.0)
    assert inflow.hours_until_full(-5, kept_share=1.0) == 0.0


def test_autonomy_is_right_from_the_first_seconds_and_follows_a_new_load(clock: Clock) -> None:
    inflow = Inflow()
    assert inflow.hours_until_full(10**9, 1.0) is None, "nothing is known yet"
    clock.now_s += 2
    inflow.add(2_000)
    assert inflow.hours_until_full(3_600_000, 1.0) == pytest.approx(1.0)
    for _ in range(7_200):
        clock.now_s += 1
        inflow.add(10_000)

    assert inflow.hours_until_full(3_600_000, 1.0) == pytest.approx(0.1, rel=0.01)


def test_the_bounds_come_from_plant_toml(tmp_path: Path) -> None:
    (tmp_path / "ot").mkdir()
    (tmp_path / "ot" / "plant.toml").write_text(
        '[queue]\ncapacity_mib = 64\nage_max_days = 0.5\nwhen_full = "thin"\nthin_fine_s = 10\n'
    )

    bounds = opening.load_bounds(tmp_path, tmp_path / "data")

    assert bounds.capacity_bytes == 64 * 1024**2
    assert bounds.age_max_s == 12 * 3600
    assert bounds.when_full is WhenFull.THIN
    assert (bounds.thin_fine_s, bounds.thin_coarse_s) == (10, 900)


def test_wrong_bounds_end_in_words(tmp_path: Path) -> None:
    (tmp_path / "ot").mkdir()
    (tmp_path / "ot" / "plant.toml").write_text('[queue]\nwhen_full = "forget"\n')

    with pytest.raises(ConfigError, match=r"plant.toml:2.*when_full"):
        opening.load_bounds(tmp_path, tmp_path / "data")


def test_a_plant_file_that_is_just_being_edited_leaves_the_last_limits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Seen to bite: otherwise a restart at the wrong moment stops committing until it is mended."""
    (tmp_path / "ot").mkdir()
    plant = tmp_path / "ot" / "plant.toml"
    plant.write_text("[queue]\ncapacity_mib = 64\n")
    before = opening.load_bounds(tmp_path, tmp_path / "data")
    plant.write_text("[queue\n")

    assert opening.load_bounds(tmp_path, tmp_path / "data") == before
    assert "limits of the last start" in caplog.text


def test_a_full_disk_is_waited_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Ending instead would have supervisord come back later and later."""
    tries = 0

    def create(path: Path, bounds: Bounds) -> QueueWriter:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise DiskFull("no room")
        return real(path, bounds)

    real = QueueWriter.create
    monkeypatch.setattr(QueueWriter, "create", staticmethod(create))
    monkeypatch.setattr(opening, "LOOK_INTERVAL_S", 0.01)

    queue = opening.open_queue(tmp_path / "queue", Bounds(), tmp_path, Stopping())

    assert tries == 3
    assert read_health(tmp_path)["normalizer"].state == "waiting"
    assert caplog.text.count("waiting for room") == 1, "the edge, not the level"
    queue.close()


def test_waiting_for_room_ends_when_told_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(*_: object) -> QueueWriter:
        stopping.requested = True
        raise DiskFull("no room")

    stopping = Stopping()
    monkeypatch.setattr(QueueWriter, "create", staticmethod(create))

    with pytest.raises(StopRequested):
        opening.open_queue(tmp_path / "queue", Bounds(), tmp_path, stopping)
