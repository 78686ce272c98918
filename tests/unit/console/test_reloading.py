"""Goal: a reload names every tag that comes, goes or changes, and concerns nobody else.

Method: configurations compiled as the collectors compile them, before and after an edit.
"""

from pathlib import Path

import msgspec
import pytest

from collectors.configured import configured_now
from common.configured import (
    QUEUE_LIMITS_FILE,
    Configured,
    ConfiguredPart,
    read_configured,
    write_configured,
)
from common.errors import ConfigError
from common.places import Places
from common.plant import QueueConfig
from console.reloading import ProcessChange, changes_of, compared

PLANT = """[gateway]
id = "box"
root = "Acme/SiteA"
[devices.press]
protocol = "simulated"
[devices.press.groups.fast]
period_ms = 100
tags = [{ name = "T", address = "sine", deadband = 0.5 }, { name = "N", address = "counter" }]
[devices.mill]
protocol = "simulated"
[devices.mill.groups.slow]
tags = [{ name = "T", address = "sine" }]
[devices.meter]
protocol = "modbus"
host = "10.0.0.1"
[devices.meter.groups.all]
tags = [{ name = "P", address = "holding:0:UINT16" }]
"""


def configure(folder: Path, *edits: tuple[str, str]) -> dict[str, Configured]:
    text = PLANT
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "ot").mkdir(exist_ok=True)
    (folder / "ot/plant.toml").write_text(text)
    return {each.process: each for each in configured_now(folder)}


def changed(folder: Path, *edits: tuple[str, str]) -> dict[str, ProcessChange]:
    """Return what an edit of the plant concerns, by process."""
    before, after = configure(folder), configure(folder, *edits)
    found = {name: compared(before[name], after[name]) for name in after}
    return {name: change for name, change in found.items() if change}


def tags(change: ProcessChange) -> list[tuple[str, ...]]:
    return [(each.what, each.device, each.group, each.name) for each in change.tags]


def test_comments_and_lines_are_no_change(tmp_path: Path) -> None:
    """Seen to bite: with the place of each row in the digest."""
    assert changed(tmp_path, ("[devices.mill]", "# the mill\n\n[devices.mill]")) == {}


def test_a_tag_that_comes_goes_or_changes_is_named(tmp_path: Path) -> None:
    change = changed(
        tmp_path,
        ('{ name = "N", address = "counter" }', '{ name = "M", address = "counter" }'),
        ("deadband = 0.5", "deadband = 0.7"),
    )["collector-simulated"]

    assert change.reasons == ["press: 1 tag came, 1 tag went, 1 tag changed"]
    assert tags(change) == [
        ("came", "press", "fast", "M"),
        ("went", "press", "fast", "N"),
        ("changed", "press", "fast", "T"),
    ]
    assert (change.tags[2].before, change.tags[2].after) == ({"deadband": 0.5}, {"deadband": 0.7})


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (("period_ms = 100", "period_ms = 250"), "press: fast every 250 ms instead of 100 ms"),
        (('"simulated"', '"simulated"\nsine_peak = 3.0'), "press: its settings changed"),
        (('"simulated"', '"simulated"\nsource_time = "ignore"'), "press: its settings changed"),
        (("[devices.press]", "[devices.new]"), "new: new"),
    ],
)
def test_what_is_no_tag_is_a_reason_too(tmp_path: Path, edit: tuple[str, str], reason: str) -> None:
    edits = [edit]
    if "new" in edit[1]:
        edits.append(("[devices.press.groups.fast]", "[devices.new.groups.fast]"))

    [(process, change)] = changed(tmp_path, *edits).items()

    assert process == "collector-simulated", "the meter is read on"
    assert reason in change.reasons


def test_a_device_that_moves_to_another_protocol_concerns_both(tmp_path: Path) -> None:
    protocol = 'protocol = "modbus"\nhost = "10.0.0.1"'
    moved = changed(tmp_path, (protocol, 'protocol = "simulated"'), ("holding:0:UINT16", "sine"))

    assert {name: change.reasons for name, change in moved.items()} == {
        "collector-modbus": ["meter: gone"],
        "collector-simulated": ["meter: new"],
    }


def test_whether_an_unsynchronised_clock_is_marked_concerns_every_collector(
    tmp_path: Path,
) -> None:
    assert changed(tmp_path, ('id = "box"', 'id = "box"\nclock = "trust"')).keys() == {
        "collector-modbus",
        "collector-simulated",
    }


def test_a_process_of_which_nothing_is_known_is_started_anew_if_it_has_devices() -> None:
    idle, busy = Configured("a"), Configured("b", {"press": ConfiguredPart("1")})

    assert compared(None, idle) is None
    assert compared(None, busy) is not None


def test_what_a_process_was_started_with_is_kept_and_damage_is_not_believed(
    tmp_path: Path,
) -> None:
    told = configure(tmp_path)["collector-simulated"]
    write_configured(tmp_path, told)

    assert read_configured(tmp_path, "collector-simulated") == told
    (tmp_path / "configured/collector-simulated.json").write_text("{")
    assert read_configured(tmp_path, "collector-simulated") is None


def test_a_wrong_configuration_has_no_plans(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sinus"):
        configure(tmp_path, ('address = "sine", deadband', 'address = "sinus", deadband'))


@pytest.mark.parametrize(
    ("table", "reasons"),
    [("", []), ('[queue]\nwhen_full = "thin"\n', ["[queue] changed"])],
)
def test_the_queues_limits_concern_the_normalizer(
    tmp_path: Path, table: str, reasons: list[str]
) -> None:
    places = Places(tmp_path, tmp_path / "run", tmp_path / "data")
    places.run_dir.mkdir()
    places.data_dir.mkdir()
    (places.data_dir / QUEUE_LIMITS_FILE).write_bytes(msgspec.json.encode(QueueConfig()))
    for told in configure(tmp_path, ("[devices.press]", table + "[devices.press]")).values():
        write_configured(places.run_dir, told)

    found = changes_of(places)

    assert [reason for each in found for reason in each.reasons] == reasons
    assert all(each.process == "normalizer" for each in found)
