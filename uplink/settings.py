"""What `[targets.NAME]` of it/cloud.toml may say, whatever kind of far side it is.

Each kind adds its own keys (`targets/mqtt_config.py`); what a payload profile may be told is a
struct of its own, because messages can be worded where no far side can be reached.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

IN_FLIGHT_MAX = 1_000

File = Annotated[str, Meta(max_length=4_096)]
Text = Annotated[str, Meta(max_length=256)]
Host = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._:-]+$")]
OptionalHost = Annotated[str, Meta(max_length=253, pattern=r"^[A-Za-z0-9._:-]*$")]
Port = Annotated[int, Meta(ge=1, le=65_535)]


Drain = Literal["", "live-first", "ordered"]


class PayloadConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How records are worded for this target."""

    payload: str = "uns"


class TargetConfig(PayloadConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every kind of target has."""

    kind: str
    ca_file: File = ""
    """Empty: the certificate authorities of the operating system."""
    cert_file: File = ""
    key_file: File = ""
    user: Text = ""
    password_file: File = ""
    drain: Drain = ""
    """Empty: as fits the kind and the profile, which `live_first` says."""
    backfill_share: Annotated[float, Meta(ge=0.05, le=0.95)] = 0.5
    """Of in_flight_max, what the backlog may fill behind live values."""
    backfill_rate_max_per_s: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.0
    """Messages of the backlog; 0: as fast as the far side takes them."""
    in_flight_max: Annotated[int, Meta(ge=1, le=IN_FLIGHT_MAX)] = 100
    """Messages published and not yet acknowledged; the far side may lower it."""

    @property
    def live_first(self) -> bool:
        """True when current values go out before the backlog, in a lane of their own."""
        return self.drain != "ordered"

    def __post_init__(self) -> None:
        """A certificate without its key proves nothing, a password needs a user."""
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file belong together: give both or neither")
        if self.password_file and not self.user:
            raise ValueError("password_file needs user")


@dataclass(frozen=True)
class TargetSettings:
    """One target as the code uses it: every path absolute, every default filled in."""

    name: str
    gateway: str
    config: TargetConfig
    ca_file: Path | None
    cert_file: Path | None
    key_file: Path | None
    password_file: Path | None


def resolved_settings(
    name: str, gateway: str, config: TargetConfig, folder: Path
) -> TargetSettings:
    """Return a target's settings; its files are relative to `folder`."""

    def resolved(file: str) -> Path | None:
        return folder / file if file else None

    return TargetSettings(
        name=name,
        gateway=gateway,
        config=config,
        ca_file=resolved(config.ca_file),
        cert_file=resolved(config.cert_file),
        key_file=resolved(config.key_file),
        password_file=resolved(config.password_file),
    )
