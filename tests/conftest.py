"""What every test stands on."""

import os
from collections.abc import Generator

import pytest

from demo.broker import NotInstalled

MOSQUITTO_REQUIRED = bool(os.environ.get("TAILRACE_REQUIRE_MOSQUITTO"))
"""Set by .ci/run: there, a missing judge is a failure and not an excuse."""


def _excused(missing: NotInstalled) -> None:
    """Skip where the one program that pip cannot install is missing, unless it is required."""
    if MOSQUITTO_REQUIRED:
        raise missing
    pytest.skip(f"{missing} (TAILRACE_REQUIRE_MOSQUITTO=1 makes this a failure)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    """Excuse a fixture that needs mosquitto."""
    try:
        yield
    except NotInstalled as missing:
        _excused(missing)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Excuse a test that needs mosquitto."""
    try:
        yield
    except NotInstalled as missing:
        _excused(missing)
