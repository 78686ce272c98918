"""Goal: the template for new protocols does what its page says, and its sample is true.

Method: the sample is loaded as it is and with every default uncommented; the device is read.
"""

import math
import re
from contextlib import aclosing
from pathlib import Path

import pytest

import collectors.simulated
from collectors.simulated.address import parse_address
from collectors.simulated.config import SimulatedSettings, compile_device
from collectors.simulated.device import SimulatedCollector, build_collector
from common.errors import Finding
from common.plant import load_plant
from common.records import ValueType

SAMPLE = Path(collectors.simulated.__file__).with_name("sample.toml").read_text(encoding="utf-8")
GATEWAY = '[gateway]\nid = "box"\nroot = "Acme/SiteA"\n'


def uncommented(sample: str) -> str:
    return re.sub(r"^#(?=\w+ = )", "", sample, flags=re.MULTILINE)


def settings_of(tmp_path: Path, text: str) -> SimulatedSettings:
    (tmp_path / "ot").mkdir()
    (tmp_path / "ot/plant.toml").write_text(GATEWAY + text, encoding="utf-8")
    findings: list[Finding] = []
    (device,) = load_plant(tmp_path).devices
    settings = compile_device(device, findings)
    assert findings == []
    assert settings is not None
    return settings


def test_the_sample_loads_and_what_it_comments_out_are_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "short").mkdir()
    (tmp_path / "full").mkdir()

    short = settings_of(tmp_path / "short", SAMPLE)
    full = settings_of(tmp_path / "full", uncommented(SAMPLE))

    assert full == short


def collector_of(tmp_path: Path) -> SimulatedCollector:
    return build_collector(settings_of(tmp_path, SAMPLE))


def test_patterns_give_what_their_names_say(tmp_path: Path) -> None:
    collector = collector_of(tmp_path)

    scans = [collector.read(0, quarter * 15_000_000_000) for quarter in range(4)]

    assert [scan.values[0] for scan in scans] == [1, 2, 3, 4]
    assert [round(scan.values[1], 9) for scan in scans] == [0.0, 1.0, 0.0, -1.0]
    assert scans[3].values[2:] == [42.5, True, "A-17"]
    types = [column.value_type for column in collector.plans[0].columns]
    assert types[1] is ValueType.FLOAT64
    assert types == [
        ValueType.INT64, ValueType.FLOAT64, ValueType.FLOAT64, ValueType.BOOL, ValueType.STRING,
    ]  # fmt: skip


async def test_scans_come_at_the_groups_period_and_counting_survives_a_reconnect(
    tmp_path: Path,
) -> None:
    text = SAMPLE.replace("#period_ms = 1000", "period_ms = 10")
    collector = build_collector(settings_of(tmp_path, text))
    values, instants = [], []

    for _ in range(2):
        async with collector.connect() as session, aclosing(session.scans()) as scans:
            async for scan in scans:
                values.append(scan.values[0])
                instants.append(scan.monotonic_ns)
                if len(values) % 3 == 0:
                    break

    assert values == [1, 2, 3, 4, 5, 6]
    assert instants[2] - instants[0] >= 15_000_000, "two periods of 10 ms, begun on the grid"


@pytest.mark.parametrize(
    ("text", "type_text", "value"),
    [
        ("constant:42", "", 42),
        ("constant:42", "float64", 42.0),
        ("constant:42", "string", "42"),
        ("constant:18446744073709551615", "", 2**64 - 1),
        ("constant:1e3", "", 1000.0),
        ("constant:TRUE", "", True),
        ("constant:a:b", "", "a:b"),
        ("constant:-inf", "", -math.inf),
    ],
)
def test_a_constant_takes_its_type_from_the_column_or_its_text(
    text: str, type_text: str, value: object
) -> None:
    address = parse_address(text, type_text)

    assert type(address.value) is type(value)
    assert address.value == value


@pytest.mark.parametrize(
    ("text", "type_text", "instruction"),
    [
        ("countr", "", "did you mean 'counter'"),
        ("counter:5", "", "leave out '5'"),
        ("sine", "int64", "sine is float64"),
        ("constant", "", "constant:42"),
        ("constant:abc", "int64", "'abc' is not a int64"),
        ("constant:-1", "uint64", "is not a uint64"),
        ("constant:1", "int16", "did you mean"),
    ],
)
def test_a_wrong_pattern_says_what_to_write_instead(
    text: str, type_text: str, instruction: str
) -> None:
    with pytest.raises(ValueError, match=instruction):
        parse_address(text, type_text)
