"""What every test stands on."""

import os
import shutil
import subprocess
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from ctypes.util import find_library
from pathlib import Path

import pytest

from demo.broker import NotInstalled
from tests.process.small_disk import SmallDisk


class ToolMissing(NotInstalled):
    """What makes faults is not here, or this machine does not let it."""


REQUIRED = {
    NotInstalled: "TAILRACE_REQUIRE_MOSQUITTO",
    ToolMissing: "TAILRACE_REQUIRE_FAULTS",
}
"""Set by .ci/run: there, a missing judge or tool is a failure and not an excuse."""


def _excused(missing: NotInstalled) -> None:
    """Skip where a program that pip cannot install is missing, unless it is required."""
    variable = REQUIRED[type(missing)]
    if os.environ.get(variable):
        raise missing
    pytest.skip(f"{missing} ({variable}=1 makes this a failure)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    """Excuse a fixture that needs what is not installed."""
    try:
        yield
    except NotInstalled as missing:
        _excused(missing)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Excuse a test that needs what is not installed."""
    try:
        yield
    except NotInstalled as missing:
        _excused(missing)


@pytest.fixture(scope="session")
def strace() -> None:
    """Be sure that system calls can be watched and made to fail."""
    try:
        subprocess.run(["strace", "-o", os.devnull, "true"], check=True, capture_output=True)  # noqa: S607 - any
    except (OSError, subprocess.CalledProcessError) as error:
        raise ToolMissing(
            f"strace cannot be used here ({error}): apt-get install strace"
        ) from error


@pytest.fixture
def faketime() -> Iterator[Callable[[Path], Mapping[str, str]]]:
    """Return what makes the environment of processes whose clock is set by a file.

    The monotonic clock goes on as it is, as on a machine whose clock is set; so do the times of
    files, which the kernel gives.
    """
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not libraries:
        raise ToolMissing("libfaketime is not installed: apt-get install libfaketime")

    def environment(clock_file: Path) -> Mapping[str, str]:
        return {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(clock_file),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
            "NO_FAKE_STAT": "1",
        }

    yield environment
    _remove_left_by_faketime()


def _remove_left_by_faketime() -> None:
    """Remove the shared memory of processes that are gone; libfaketime leaves it behind."""
    for path in Path("/dev/shm").glob("*faketime_s*_*"):  # noqa: S108 - where the kernel keeps it
        if not Path("/proc", path.name.rpartition("_")[2]).exists():
            path.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def libmodbus() -> str:
    """Return the library of another Modbus implementation: the judge of ours."""
    if not (found := find_library("modbus")):
        raise ToolMissing("libmodbus is not installed: apt-get install libmodbus5")
    return found


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], SmallDisk]]:
    """Return what mounts a small file system of its own; unmounted when the test is over."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        raise ToolMissing(
            "a file system of its own needs root and mkfs.ext4: apt-get install e2fsprogs"
        )
    with ExitStack() as stack:

        def mounted(size_bytes: int) -> SmallDisk:
            try:
                return stack.enter_context(SmallDisk(tmp_path, size_bytes))
            except subprocess.CalledProcessError as error:
                raise ToolMissing(
                    f"a disk image cannot be mounted here: {error.stderr!r}"
                ) from error

        yield mounted


@pytest.fixture
def own_names(tmp_path: Path) -> tuple[Path, list[str]]:
    """Return a hosts file, and the command in front of a process that has it alone for its names.

    No name server answers that process. The file may be written to while it runs.
    """
    hosts, resolver = tmp_path / "hosts", tmp_path / "resolv.conf"
    hosts.write_text("127.0.0.1 localhost\n")
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    mount = f"mount --bind {hosts} /etc/hosts && mount --bind {resolver} /etc/resolv.conf"
    command = ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ToolMissing(
            f"a process cannot be given names of its own here ({error}); it needs root"
        ) from error
    return hosts, command
