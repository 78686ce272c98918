"""What `[targets.NAME]` of it/cloud.toml may say, whatever kind of far side it is.

Each kind adds its own keys (`targets/mqtt_config.py`); what a payload profile may be told is a
struct of its own, because messages can be worded where no far side can be reached.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from common.config import BacklogHours, BacklogMib
from uplink.sparkplug.config import SparkplugConfig

IN_FLIGHT_MAX = 1_000

File = Annotated[str, Meta(max_length=4_096)]
Text = Annotated[str, Meta(max_length=256)]
Host = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._:-]+$")]
OptionalHost = Annotated[str, Meta(max_length=253, pattern=r"^[A-Za-z0-9._:-]*$")]
Port = Annotated[int, Meta(ge=1, le=65_535)]


TopicName = Annotated[str, Meta(max_length=1_024, pattern=r"^[^+#\x00]*$")]
UmhContract = Annotated[str, Meta(max_length=64, pattern=r"^_[A-Za-z0-9-][A-Za-z0-9_-]*$")]
Drain = Literal["", "live-first", "ordered"]


class PayloadConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How records are worded for this target; docs/payloads.md has every profile."""

    payload: str = "uns"
    backfill_payload: Literal["", "batch"] = ""
    """Another profile for history that follows behind current values; empty: the same."""
    batch_topic: TopicName = ""
    """Of the profile `batch`. Empty: <enterprise>/<site>/_edge/<gateway>/batch."""
    batch_bytes_max: Annotated[int, Meta(ge=1_024, le=8_388_608)] = 102_400
    """Of one message of the profile `batch`; the far side may lower it."""
    umh_contract: UmhContract = "_raw"
    """Of the profile `umh`: the level between location and tag."""
    cloud_events: Literal["off", "binary"] = "off"
    """`binary`: each message is a CloudEvent, its attributes beside the payload."""
    meta: Literal["tags", "off"] = "tags"
    """Whether what is known of each tag is published, retained, on `<asset>/_meta/<tag>`."""
    sparkplug: SparkplugConfig = SparkplugConfig()
    """Of payload = "sparkplug" alone."""


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
    backlog_max_h: BacklogHours = 0
    """Hours that data may wait for this target before it is cut off from it; 0: any time."""
    backlog_max_mib: BacklogMib = 0
    """The same, of what waits, as the queue stores it; 0: as much as the queue keeps."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """The keys whose files only the owner may read."""
        return ("key_file", "password_file")

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

    def cautions(self) -> tuple[tuple[str, str], ...]:
        """Return what a person should know of these keys, as (key, text); it stops nothing."""
        return ()


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
    folder: Path
    """What relative files of this target are relative to."""

    @property
    def usual_client_id(self) -> str:
        """The name under which a far side knows us where no client_id is written."""
        return f"tailrace-{self.gateway}-{self.name}"

    def file(self, key: str) -> Path | None:
        """Return the file that a key of the table names, None where it names none."""
        named = getattr(self.config, key)
        return self.folder / named if named else None

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that a connection is made with."""
        keys = ("ca_file", "cert_file", *self.config.secrets)
        return tuple(path for path in map(self.file, keys) if path is not None)


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
        folder=folder,
    )
