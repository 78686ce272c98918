"""Writes the demo's configuration: plant_files/ with ports and certificates filled in.

The files are what a newcomer reads first; the result is an ordinary configuration directory,
`ot/plant.toml`, `ot/tags/*.csv`, `it/cloud.toml`, `it/pki/`.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from string import Template

from demo.pki import Pki

GATEWAY_ID = "sitea-line1"
SITE = "Acme/SiteA"
"""Everything the gateway publishes lies below: its values, its status, its gaps."""

TEMPLATES = Path(__file__).with_name("plant_files")


@dataclass(frozen=True)
class Ports:
    """Where the machines and the broker listen on 127.0.0.1."""

    meter: int
    press: int
    robot: int
    broker: int


def write_configuration(config_dir: Path, ports: Ports, pki: Pki) -> Path:
    """Write a complete configuration into `config_dir`, over what is there; return it."""
    config_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    values = {
        "meter_port": ports.meter,
        "press_port": ports.press,
        "robot_port": ports.robot,
        "broker_port": ports.broker,
    }
    for source in sorted(path for path in TEMPLATES.rglob("*") if path.is_file()):
        file = config_dir / source.relative_to(TEMPLATES)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(Template(source.read_text("utf-8")).substitute(values), "utf-8")
    folder = config_dir / "it" / "pki"
    folder.mkdir(mode=0o700, exist_ok=True)
    for secret, name in (
        (pki.ca_file, "ca.pem"),
        (pki.client.cert_file, "gateway.pem"),
        (pki.client.key_file, "gateway.key"),
    ):
        shutil.copy(secret, folder / name)  # with its mode, 0600
    return config_dir
