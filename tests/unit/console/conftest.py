"""Folders for the tests of the console."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Return a folder that leaves room for a socket's path, however long pytest's own one is."""
    with tempfile.TemporaryDirectory(prefix="t") as folder:
        yield Path(folder)
