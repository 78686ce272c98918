"""Goal: the console knows which process serves which protocol and target."""

import subprocess
import sys
from pathlib import Path

import pytest

from common.places import Places
from console.check import answer
from console.programs import (
    arguments_of,
    programs_of,
    read_supervisor_file,
    supervisor_file,
    unwanted_in,
)
from console.rooms import HOME
from console.run import RUN_DIR_BYTES_MAX, CannotRun, make_places

CONF = """
[program:uplink-uns]
command="%(ENV_TAILRACE_PYTHON)s" -m uplink uns   ; the broker
[program:uplink-erp]
command=python3 -u -m uplink erp
[program:collector-s7]
command=python3 -m collectors s7
[program:something-else]
command=/bin/uplink -m
"""


def test_programs_are_known_by_what_they_serve(tmp_path: Path) -> None:
    (tmp_path / "supervisord.conf").write_text(CONF)

    programs = programs_of(read_supervisor_file(tmp_path / "supervisord.conf"))

    assert arguments_of("uplink", programs) == {"uns", "erp"}
    assert arguments_of("collectors", programs) == {"s7"}


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("[inet_http_server]\nport = 127.0.0.1:9001", "would listen on TCP"),
        ("[inet_http_server:second]\nport = *:9001", "would listen on TCP"),
        ("[include]\nfiles = /etc/supervisor/conf.d/*.conf", "unseen by this check"),
    ],
)
def test_a_section_that_could_open_a_port_is_found(tmp_path: Path, section: str, says: str) -> None:
    shipped = read_supervisor_file(HOME / "supervisord.conf")
    (tmp_path / "supervisord.conf").write_text(f"{CONF}\n{section}\n")

    ((where, why),) = unwanted_in(read_supervisor_file(tmp_path / "supervisord.conf"))

    assert where == section.partition("\n")[0]
    assert says in why
    assert unwanted_in(shipped) == []


def test_the_operators_own_file_comes_first(tmp_path: Path) -> None:
    places = Places(tmp_path, tmp_path, tmp_path)
    shipped = supervisor_file(places)
    (tmp_path / "supervisord.conf").write_text(CONF)

    assert shipped == HOME / "supervisord.conf"
    assert supervisor_file(places) == tmp_path / "supervisord.conf"


@pytest.mark.parametrize(
    "code",
    ["print('[]'); raise SystemExit(1)", "raise OSError('gone')", "print('{')", "pass"],
)
def test_a_check_that_fails_is_never_reported_as_clean(code: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )

    (finding,) = answer("uplink", process)

    assert "the check itself failed" in finding.message


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("r" * RUN_DIR_BYTES_MAX, "choose a shorter one with --run"),
        ("50%", "cannot hold a '%'"),
        ("file/run", "cannot use"),
    ],
)
def test_folders_that_cannot_work_are_refused_with_a_reason(
    run: str, said: str, short_path: Path
) -> None:
    (short_path / "file").write_text("in the way")

    with pytest.raises(CannotRun, match=said):
        make_places(Places(short_path, short_path / run, short_path / "data"))


def test_folders_are_made_for_this_user_alone(short_path: Path) -> None:
    run_dir, data_dir = short_path / "run", short_path / "data"
    run_dir.mkdir(mode=0o755)

    make_places(Places(short_path, run_dir, data_dir))

    assert [each.stat().st_mode & 0o777 for each in (run_dir, data_dir)] == [0o700, 0o700]
