"""A real asyncua server per test, and settings compiled from a real plant.toml."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from opcua_server import Plc

from collectors.opcua.config import OpcuaSettings, compile_device
from common.errors import Finding
from common.plant import load_plant


@pytest.fixture
async def plc() -> AsyncIterator[Plc]:
    """A server that the test starts; stopped at its end."""
    plc = Plc()
    yield plc
    await plc.stop()


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[..., OpcuaSettings]:
    """Return a function: endpoint, rows of (name, address, type), further keys → settings."""

    def compile_it(
        endpoint: str,
        *rows: tuple[str, ...],
        columns: str = "name,address,type",
        period_ms: int = 50,
        **keys: object,
    ) -> OpcuaSettings:
        (tmp_path / "ot").mkdir(exist_ok=True)
        keys = {"security": "none"} | keys
        extra = "".join(f"{key} = {_toml(value)}\n" for key, value in keys.items() if value)
        (tmp_path / "ot/plant.toml").write_text(
            '[gateway]\nid = "g1"\nroot = "Acme/Line1"\n\n'
            f'[devices.press]\nprotocol = "opcua"\nendpoint = "{endpoint}"\n{extra}'
            f'[devices.press.groups.process]\nperiod_ms = {period_ms}\ntags = "tags.csv"\n'
        )
        lines = [columns] + [
            ",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows
        ]
        (tmp_path / "ot/tags.csv").write_text("\n".join(lines) + "\n")
        findings: list[Finding] = []
        settings = compile_device(load_plant(tmp_path, tmp_path / "data").devices[0], findings)
        if settings is None:
            raise ValueError("\n".join(map(str, findings)))
        assert findings == []
        return settings

    return compile_it


def _toml(value: object) -> str:
    # Text that begins as a list of TOML is one.
    is_text = isinstance(value, str | Path) and not str(value).startswith("[")
    return f'"{value}"' if is_text else str(value)
