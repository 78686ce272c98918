"""The real console, run to its end as a person's shell would."""

import subprocess
import sys
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[2]


def line_of(config: Path, verb: str, *words: str) -> list[str]:
    """Return a command line of the console."""
    return [sys.executable, "-m", "console", verb, f"--config={config}", *words]


def tailrace(config: Path, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run one verb to its end."""
    return subprocess.run(
        line_of(config, verb, *words),
        cwd=HOUSE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
