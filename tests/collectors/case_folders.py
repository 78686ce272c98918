"""Cases as folders: what a device holds, what is configured, and what must come out.

    tests/collectors/<protocol>/cases/<what-is-special>/
      config.toml     keys of [devices.case] and its `tags = [...]`, without protocol, host and port
      device.toml     what the device holds, in the protocol's own form; its test reads it
      expected.json   {"Tag": value}, or {"Tag": {"quality": "BadOutOfRange", "value": null}}
      error.txt       instead of the last two: what `tailrace check` must say, one part a line

A float must be equal to the bit; bytes are written as {"hex": "00ff"}; NaN and infinities as
{"float": "nan"}. Each protocol's test names its folder and brings the device, and compares
`as_text` of what came out with `as_text` of what was expected. Seen to bite, in each protocol: a
-0.0 that its decoder makes 0.0.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collectors.registry import compiler_of
from common.errors import Finding
from common.plant import load_plant
from common.records import Plan, Scan, quality_name


@dataclass(frozen=True)
class Case:
    """One folder."""

    folder: Path

    def __str__(self) -> str:
        return self.folder.name

    @property
    def device(self) -> dict[str, Any]:
        """What the device holds."""
        return tomllib.loads((self.folder / "device.toml").read_text("utf-8"))

    @property
    def expected(self) -> dict[str, Any]:
        """Tag → value, or value and quality."""
        found: dict[str, Any] = json.loads((self.folder / "expected.json").read_text("utf-8"))
        return found

    @property
    def errors(self) -> list[str]:
        """What the check must say; empty for a case that is read."""
        path = self.folder / "error.txt"
        return path.read_text("utf-8").splitlines() if path.exists() else []

    def settings(self, tmp_path: Path, protocol: str, **reached_at: object) -> Any:
        """Return the compiled settings. Raises ValueError with every finding."""
        written = (self.folder / "config.toml").read_text("utf-8")
        keys, _, tags = written.partition("tags = ")
        place = "".join(f"{key} = {json.dumps(value)}\n" for key, value in reached_at.items())
        (tmp_path / "ot").mkdir(exist_ok=True)
        (tmp_path / "ot/plant.toml").write_text(
            '[gateway]\nid = "g1"\nroot = "Acme/Line1"\n\n'
            f'[devices.case]\nprotocol = "{protocol}"\n{place}{keys}\n'
            f"[devices.case.groups.all]\nperiod_ms = 20\ntags = {tags}",
            "utf-8",
        )
        findings: list[Finding] = []
        settings = compiler_of(protocol)(load_plant(tmp_path).devices[0], findings)
        if settings is None:
            raise ValueError("\n".join(map(str, findings)))
        return settings


def cases(folder: Path, *, failing: bool) -> list[Case]:
    """Return the cases below `folder`, those with error.txt or those without."""
    found = [Case(path.parent) for path in sorted(folder.glob("*/config.toml"))]
    assert found, f"no case below {folder}"
    return [case for case in found if bool(case.errors) == failing]


def shown(plans: Sequence[Plan], scan: Scan) -> dict[str, Any]:
    """Return a scan as expected.json writes it."""
    [plan] = [plan for plan in plans if plan.fingerprint == scan.plan]
    columns = scan.indexes if scan.indexes is not None else range(len(plan.columns))
    qualities = scan.qualities or [0] * len(scan.values)
    return {
        plan.columns[column].name: _value(value) if not quality else _both(value, quality)
        for column, value, quality in zip(columns, scan.values, qualities, strict=True)
    }


def as_text(found: Mapping[str, Any]) -> str:
    """Return tags and values so that every difference is seen.

    To Python -0.0 is 0.0, 1 is 1.0, and both are True.
    """
    return json.dumps(found, sort_keys=True, indent=1)


def _both(value: Any, quality: int) -> dict[str, Any]:
    return {"value": _value(value), "quality": quality_name(quality)}


def _value(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, float) and value - value != 0:
        return {"float": str(value)}
    return value
