"""Names in the namespace: levels of a topic, what they are called, and how long they may be."""

import re
from typing import Literal, NamedTuple

TOPIC_BYTES_MAX = 65_535
"""MQTT 5, 1.5.4: a topic is a string of at most 65,535 bytes. Brokers may allow less."""

LEVEL_NAMES = ("enterprise", "site", "area", "line", "cell")
"""ISA-95 as people speak it (IEC 62264-1, 5.3: enterprise, site, area, work centre, work unit)."""

_LEVEL = re.compile(r"[A-Za-z0-9.-][A-Za-z0-9_.-]*")

BASIC_INGEST = "$aws/rules/"
"""AWS IoT Core: what is published to `$aws/rules/<rule>/<topic>` goes to the rule alone."""

BrokerProfile = Literal["aws", "azure", "emqx", "umh"]


class BrokerLimits(NamedTuple):
    """What a kind of broker accepts, whether or not it announces it; 0: no limit known."""

    source: str
    slashes_max: int = 0
    topic_bytes_max: int = 0
    levels: str = ""
    """A regular expression that each level of a topic must match."""
    payload_bytes_max: int = 0
    retained_bytes_max: int = 0
    """Of the payload of a retained message."""
    client_id_bytes_max: int = 0
    keepalive_max_s: int = 0
    publishes_max_per_s: int = 0
    """Of one connection, as `bytes_max_per_s`."""
    bytes_max_per_s: int = 0


BROKER_PROFILES: dict[BrokerProfile, BrokerLimits] = {
    # AWS General Reference, "AWS IoT Core endpoints and quotas", message broker and protocol
    # limits; AwsIotCoreDefaults of the AWS SDK has the same. The keep-alive interval is at most
    # 1200 s; a longer one is taken for 1200.
    "aws": BrokerLimits(
        "AWS IoT Core, message broker limits",
        slashes_max=7,
        topic_bytes_max=256,
        payload_bytes_max=128 * 1024,
        client_id_bytes_max=128,
        keepalive_max_s=1_200,
        publishes_max_per_s=100,
        bytes_max_per_s=512 * 1024,
    ),
    # Microsoft Learn, "Azure Event Grid quotas and limits", MQTT in a namespace: per session and
    # throughput unit 1,000 messages and 1 MB a second; a retained message has 64 KB at most.
    "azure": BrokerLimits(
        "Azure Event Grid, MQTT limits: 15 segments",
        slashes_max=14,
        topic_bytes_max=256,
        payload_bytes_max=1024 * 1024,
        retained_bytes_max=64 * 1024,
        client_id_bytes_max=128,
        keepalive_max_s=1_160,
        publishes_max_per_s=1_000,
        bytes_max_per_s=1_000_000,
    ),
    # EMQX documentation, "MQTT Configuration": mqtt.max_topic_levels, mqtt.max_packet_size.
    # Defaults that its administrator may change; the packet size is announced.
    "emqx": BrokerLimits("EMQX, mqtt.max_topic_levels", slashes_max=127),
    # UMH Core documentation, "Topic Convention" and "Payload Formats": 1 MiB, and these characters.
    "umh": BrokerLimits(
        "UMH Core, topic convention", levels="[A-Za-z0-9._-]+", payload_bytes_max=1024 * 1024
    ),
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


def umh_topic(topic: str, name: str, contract: str) -> str:
    """Return where UMH Core wants a tag: the contract stands between its location and its name.

    `topic` ends in the tag's `name` (UMH documentation, "Topic Convention").
    """
    return f"umh/v1/{topic.removesuffix(f'/{name}')}/{contract}/{name}"


def beyond(profile: BrokerProfile, topic: str) -> str | None:
    """Return why a kind of broker would refuse a topic, None when it would not.

    The prefix of Basic Ingest counts for nothing: AWS counts what follows it.
    """
    limits = BROKER_PROFILES[profile]
    if topic.startswith(BASIC_INGEST):
        topic = topic.removeprefix(BASIC_INGEST).partition("/")[2]
    slashes, size = topic.count("/"), len(topic.encode())
    if limits.slashes_max and slashes > limits.slashes_max:
        return f"{slashes} slashes, {profile} allows {limits.slashes_max}"
    if limits.topic_bytes_max and size > limits.topic_bytes_max:
        return f"{size} bytes, {profile} allows {limits.topic_bytes_max}"
    if limits.levels:
        for level in topic.split("/"):
            if not re.fullmatch(limits.levels, level):
                return f"level {level!r}, {profile} allows letters, digits, '.', '_' and '-'"
    return None
