"""Names in the namespace: levels of a topic, what they are called, and how long they may be."""

import re
from typing import Literal, NamedTuple

TOPIC_BYTES_MAX = 65_535
"""MQTT 5, 1.5.4: a topic is a string of at most 65,535 bytes. Brokers may allow less."""

LEVEL_NAMES = ("enterprise", "site", "area", "line", "cell")
"""ISA-95 as people speak it (IEC 62264-1, 5.3: enterprise, site, area, work centre, work unit)."""

_LEVEL = re.compile(r"[A-Za-z0-9.-][A-Za-z0-9_.-]*")

BrokerProfile = Literal["aws", "azure"]


class TopicLimits(NamedTuple):
    """What a kind of broker accepts as a topic."""

    slashes_max: int
    bytes_max: int
    source: str


BROKER_PROFILES: dict[BrokerProfile, TopicLimits] = {
    "aws": TopicLimits(7, 256, "AWS IoT Core, message broker limits"),
    "azure": TopicLimits(14, 256, "Azure Event Grid, MQTT limits: 15 segments"),
}
"""Also for it/cloud.toml, whose targets say which broker they are."""


def wrong_levels(path: str) -> list[str]:
    """Return a sentence for each level of a path that no topic may have."""
    return [
        f"{level!r} is not a level of a topic: letters, digits, '_', '.', '-', "
        "not empty, not beginning with '_'"
        for level in path.split("/")
        if not _LEVEL.fullmatch(level)
    ]


def named_levels(path: str, names: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return what each level of a path is called; None when `names` has too few for it.

    Without `names`: as ISA-95 calls them, and `level-6` and so on below.
    """
    deep = path.count("/") + 1
    if not names:
        further = (f"level-{number}" for number in range(len(LEVEL_NAMES) + 1, deep + 1))
        names = (*LEVEL_NAMES, *further)
    return names[:deep] if deep <= len(names) else None


def beyond(profile: BrokerProfile, topic: str) -> str | None:
    """Return why a kind of broker would refuse a topic, None when it would not."""
    limits = BROKER_PROFILES[profile]
    if topic.count("/") > limits.slashes_max:
        return f"{topic.count('/')} slashes, {profile} allows {limits.slashes_max}"
    if len(topic.encode()) > limits.bytes_max:
        return f"{len(topic.encode())} bytes, {profile} allows {limits.bytes_max}"
    return None
