"""Goal: what the other rooms say is understood, and a room that fails is said to have failed."""

from pathlib import Path

import pytest

from common.places import Places
from common.trials import Compiled, Last, Question, Questions, RawScan, Rehearsals, Run, Step
from console.trying import RoomFailed, ask, judged, rehearsed, tables_of

PLANT = """
[gateway]
id = "sitea-line1"
root = "Acme"

[devices.press]
protocol = "simulated"
[devices.press.groups.fast]
tags = [{ name = "Level", address = "sine", unit = "m", deadband = 0.5 }]

[devices.half]
protocol = "simulated"
[devices.half.groups.fast]
tags = [{ name = "Level", address = "sign" }]

[devices.alien]
protocol = "profibus"
[devices.alien.groups.fast]
tags = [{ name = "Level", address = "sine" }]
"""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "ot").mkdir()
    (tmp_path / "ot/plant.toml").write_text(PLANT)
    return Places(tmp_path, tmp_path / "run", tmp_path / "data")


def test_what_is_right_is_compiled_beside_what_is_wrong(places: Places) -> None:
    tables = tables_of(places)

    assert tables.devices == ["press"]
    assert list(tables.by_topic) == ["Acme/press/Level"]
    texts = sorted(str(finding) for finding in tables.findings)
    assert len(texts) == 2
    assert any("alien.protocol: unknown protocol 'profibus'; known" in text for text in texts)
    assert any("unknown pattern 'sign'; did you mean 'sine'?" in text for text in texts)


def test_a_configuration_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    tables = tables_of(Places(tmp_path, tmp_path, tmp_path))

    assert tables.plans == ()
    assert "no such file" in str(tables.findings[0])


def test_readings_are_tried_by_the_normalizer(places: Places) -> None:
    (plan,) = tables_of(places).plans
    scan = RawScan(plan=plan.fingerprint, values=[1.5])
    question = Question(
        plan=plan.encoded, column=0, value=1.8, at_ns=2, last=Last(value=1.5, at_ns=1)
    )

    run = Run(steps=[Step(at_ns=1, scans=[scan])])
    ((outcome,),) = rehearsed(Rehearsals(plans=[plan.encoded], runs=[run])).runs

    assert [sample.value for sample in outcome.told] == [1.5]
    assert judged(Questions(questions=[question])).decisions[0].outcome == "unchanged"


def test_a_room_that_fails_is_quoted(places: Places) -> None:
    (plan,) = tables_of(places).plans
    torn = Step(at_ns=1, scans=[RawScan(plan=plan.fingerprint, values=[])])

    with pytest.raises(RoomFailed, match=r"failed, exit code 1: .*ScanMalformed.*please report"):
        rehearsed(Rehearsals(plans=[plan.encoded], runs=[Run(steps=[torn])]))


def test_an_answer_that_is_none_is_not_understood() -> None:
    with pytest.raises(RoomFailed, match=r"python -m this was not understood: "):
        ask("this", [], b"", Compiled)


def test_a_room_that_is_not_there_is_a_bug() -> None:
    with pytest.raises(RoomFailed, match=r"failed, exit code 1: .*No module named"):
        ask("collectors.nonsense", [], b"", Compiled)


def test_a_room_that_hangs_is_given_up() -> None:
    with pytest.raises(RoomFailed, match=r"python -m asyncio gave no answer within 0\.2 s"):
        ask("asyncio", [], b"while True: pass\n\n", Compiled, timeout_s=0.2)
