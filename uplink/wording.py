"""`python -m uplink.wording SEQUENCE INDEX`: one sample of the queue, as each target would get it.

One JSON document on standard output (common/trials.py, `Worded`). Nothing is sent and no cursor is
moved; a wrong certificate or address in it/cloud.toml is none of its business.
"""

import argparse
import sys
from pathlib import Path

import msgspec

from common.clock import now_ns
from common.config import CLOUD_FILE, read_document, table_at
from common.errors import ConfigError, Finding, QueueUnusable
from common.places import Places, add_places, places_of
from common.queue import QueueReader
from common.records import Record
from common.trials import Worded, WordedMessage
from uplink.config import load_gateway
from uplink.registry import PAYLOADS, wording_builder_of
from uplink.status import edge_path

_DEFAULT = "uns"


def payloads_of(config_dir: Path) -> dict[str, str]:
    """Return target → payload profile, of every target whose profile there is."""
    findings: list[Finding] = []
    document = read_document(config_dir, CLOUD_FILE, findings)
    targets = table_at(document, "targets", findings) if document else {}
    named = {
        name: table.get("payload", _DEFAULT)
        for name, table in targets.items()
        if isinstance(table, dict)
    }
    return {name: payload for name, payload in named.items() if payload in PAYLOADS}


def worded(places: Places, sequence: int, index: int) -> Worded:
    """Return the messages of one sample. Raises QueueUnusable, ConfigError."""
    gateway = load_gateway(places.config_dir)
    reader = QueueReader.open(places.queue_dir)
    try:
        found = reader.read(after=sequence - 1, up_to=sequence, records_max=1)
        epoch = reader.epoch
    finally:
        reader.close()
    edge = edge_path(gateway.root, gateway.id)
    messages = []
    for record in (each for each in found if isinstance(each, Record)):
        indexes = range(len(record.values)) if record.indexes is None else record.indexes
        if index not in indexes:
            continue
        for target, payload in payloads_of(places.config_dir).items():
            wording = wording_builder_of(payload)(gateway.id, epoch, edge)
            message = wording.message(record, list(indexes).index(index), now_ns())
            messages.append(
                WordedMessage(
                    target=target,
                    profile=payload,
                    topic=message.topic,
                    payload=message.payload.decode(errors="replace"),
                    retain=message.retain,
                )
            )
    return Worded(messages=messages)


def command() -> None:
    """Answer what the command line asks."""
    parser = argparse.ArgumentParser(prog="python -m uplink.wording", description=__doc__)
    add_places(parser)
    parser.add_argument("sequence", type=int)
    parser.add_argument("index", type=int)
    arguments = parser.parse_args()
    try:
        told = worded(places_of(arguments), arguments.sequence, arguments.index)
    except (QueueUnusable, ConfigError) as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")


if __name__ == "__main__":
    command()
