"""A PLC in TLS per test, and settings compiled from a real plant.toml."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from s7plus_server import Block, Plc, identity, integer, real

from collectors.s7plus.config import S7PlusSettings, compile_device
from common.errors import Finding
from common.plant import load_plant


@pytest.fixture
def plc(tmp_path: Path) -> Iterator[Plc]:
    """A PLC with the block Press, which the test starts; whatever is asked, nothing is written."""
    _, its_own = identity(tmp_path / "ot/pki", "127.0.0.1", "localhost")
    plc = Plc(its_own)
    plc.blocks[40] = Block(
        "Press", {"Temperature": real(61.5, 10), "Strokes": integer(7, 11)}, zones=[]
    )
    plc.register_raw_db(1, bytearray(range(200)))
    yield plc
    plc.answering.set()
    plc.stop()
    for thread in threading.enumerate():
        if thread.name.startswith("s7commplus-client"):
            thread.join(10)
    assert plc.written == [], "a collector has no way to write"


@pytest.fixture
def s7plus_compiled(tmp_path: Path) -> Callable[..., S7PlusSettings]:
    """Return a function: port, rows of (name, address, type), further keys → settings."""

    def compile_it(
        port: int, *rows: tuple[str, str, str], period_ms: int = 20, **keys: object
    ) -> S7PlusSettings:
        keys = {"host": "127.0.0.1", "port": port, "experimental": True} | keys
        if "fingerprint" not in keys:
            keys.setdefault("ca_file", "pki/ca.pem")
        lines = "".join(f"{key} = {_toml(value)}\n" for key, value in keys.items())
        (tmp_path / "ot").mkdir(exist_ok=True)
        (tmp_path / "ot/plant.toml").write_text(
            '[gateway]\nid = "g1"\nroot = "Acme/Line1"\n\n'
            f'[devices.press]\nprotocol = "s7plus"\n{lines}'
            f'[devices.press.groups.process]\nperiod_ms = {period_ms}\ntags = "tags.csv"\n'
        )
        table = ["name,address,type"] + [
            ",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows
        ]
        (tmp_path / "ot/tags.csv").write_text("\n".join(table) + "\n")
        findings: list[Finding] = []
        settings = compile_device(load_plant(tmp_path).devices[0], findings)
        if settings is None:
            raise ValueError("\n".join(map(str, findings)))
        assert findings == []
        return settings

    return compile_it


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool | int) else f'"{value}"'
