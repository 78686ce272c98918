"""What only both halves together show: topics of ot/ that a broker of it/ would not take."""

from collections.abc import Iterator
from typing import Any

from common.config import CLOUD_FILE, read_document, table_at
from common.errors import Caution
from common.naming import BROKER_PROFILES, beyond, umh_topic
from common.places import Places
from common.plant import Plant, Tag, read_plant

_UMH_CONTRACT = "_raw"
"""Where [targets.NAME] does not say umh_contract."""


def topics_beyond(places: Places) -> list[Caution]:
    """Return a warning for each target whose broker would refuse topics of the plant."""
    plant = read_plant(places.config_dir, [])  # What is wrong in either was found by its room.
    document = read_document(places.config_dir, CLOUD_FILE, [])
    if plant is None or document is None:
        return []
    found = []
    for name, table in table_at(document, "targets", []).items():
        if not isinstance(table, dict):
            continue
        for key, text in _beyond(plant, table):
            where = f"targets.{name}.{key}"
            found.append(Caution(document.place(where), where, text))
    return found


def _beyond(plant: Plant, table: dict[str, Any]) -> Iterator[tuple[str, str]]:
    profile = table.get("broker")
    if not isinstance(profile, str) or profile not in BROKER_PROFILES:
        return
    tags = [tag for each in plant.devices for group in each.groups for tag in group.tags]
    topics = list(dict.fromkeys(filter(None, (_published(tag, table) for tag in tags))))
    refused = [(topic, text) for topic in topics if (text := beyond(profile, topic))]
    if refused:
        topic, text = refused[0]
        more = f"; so are {len(refused) - 1:,} more topics of ot/" if len(refused) > 1 else ""
        yield "broker", f"topic {topic} would be set aside: {text}{more}"


def _published(tag: Tag, table: dict[str, Any]) -> str | None:
    """Return where a target's payload profile tells a tag; None where not on a topic of its own."""
    name = tag.row.name
    match table.get("payload", "uns"):
        case "uns":
            return tag.topic
        case "asset":
            return tag.topic.removesuffix(f"/{name}")
        case "umh":
            return umh_topic(tag.topic, name, str(table.get("umh_contract") or _UMH_CONTRACT))
    return None
