"""What an operator says of the times that a device gives: keys that every protocol has."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta


class SourceTimeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of [devices.NAME] beside the protocol's own."""

    source_time: Literal["trust", "corrected", "ignore"] = "trust"
    """As the device says · less the estimated offset of its clock · the read time stands."""
    source_time_ahead_max_s: Annotated[float, Meta(ge=0, le=86_400)] = 60.0
    """A source time that is later than the read time by more is not believed."""


AS_THE_DEVICE_SAYS = SourceTimeConfig()
SOURCE_TIME_KEYS = SourceTimeConfig.__struct_fields__


def without_source_time_keys(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keys that are the protocol's own, and those of `SourceTimeConfig`."""
    ours = {key: value for key, value in settings.items() if key in SOURCE_TIME_KEYS}
    return {key: value for key, value in settings.items() if key not in ours}, ours
