"""A real snap7 server per test, and settings compiled from a real plant.toml."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from s7_server import Plc

from collectors.s7.config import S7Settings, compile_device
from common.errors import Finding
from common.plant import load_plant


@pytest.fixture
def s7() -> Iterator[Plc]:
    """A PLC that the test starts; stopped at its end."""
    plc = Plc()
    yield plc
    plc.stop()


@pytest.fixture
def s7_compiled(tmp_path: Path) -> Callable[..., S7Settings]:
    """Return a function: port, rows of (name, address, type), further keys → settings."""

    def compile_it(port: int, *rows: tuple[str, str, str], **keys: object) -> S7Settings:
        (tmp_path / "ot").mkdir(exist_ok=True)
        extra = "".join(f"{key} = {value}\n" for key, value in keys.items())
        (tmp_path / "ot/plant.toml").write_text(
            '[gateway]\nid = "g1"\nroot = "Acme/Line1"\n\n'
            f'[devices.press]\nprotocol = "s7"\nhost = "127.0.0.1"\nport = {port}\n{extra}'
            '[devices.press.groups.process]\nperiod_ms = 20\ntags = "tags.csv"\n'
        )
        lines = ["name,address,type"] + [",".join(f'"{cell}"' for cell in row) for row in rows]
        (tmp_path / "ot/tags.csv").write_text("\n".join(lines) + "\n")
        findings: list[Finding] = []
        settings = compile_device(load_plant(tmp_path).devices[0], findings)
        if settings is None:
            raise ValueError("\n".join(map(str, findings)))
        assert findings == []
        return settings

    return compile_it
