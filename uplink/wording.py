"""`python -m uplink.wording SEQUENCE INDEX`: one sample of the queue, as each target would get it.

One JSON document on standard output (common/trials.py, `Worded`). Nothing is sent and no cursor is
moved; a wrong certificate or address in it/cloud.toml is none of its business.
"""

import argparse
import sys
from pathlib import Path

import msgspec

from common.config import CLOUD_FILE, read_document, table_at
from common.errors import ConfigError, Finding, QueueUnusable
from common.places import Places, add_places, places_of
from common.queue import QueueReader
from common.records import Record
from common.trials import Worded, WordedMessage
from uplink.config import load_gateway
from uplink.contract import Manner, Message
from uplink.payloads.parts import columns_of, part_of
from uplink.registry import PAYLOADS, wording_of
from uplink.settings import PayloadConfig
from uplink.status import edge_path
from uplink.surroundings import Identity

AS_CURRENT = Manner(historical=False, retained=True, payload_bytes_max=100 * 1024)


def payloads_of(config_dir: Path) -> dict[str, PayloadConfig]:
    """Return target → how records are worded for it, of every target whose profile there is."""
    findings: list[Finding] = []
    document = read_document(config_dir, CLOUD_FILE, findings)
    targets = table_at(document, "targets", findings) if document else {}
    found = {}
    for name, table in targets.items():
        try:
            config = msgspec.convert(table, PayloadConfig)
        except msgspec.ValidationError:
            continue
        if config.payload in PAYLOADS:
            found[name] = config
    return found


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
    identity = Identity(gateway.id, epoch, gateway.root, edge)
    configs = payloads_of(places.config_dir)
    messages = []
    for record in (each for each in found if isinstance(each, Record)):
        sample = _alone(record, index)
        if sample is None:
            continue
        for target, config in configs.items():
            wording = wording_of(config, identity)
            for parcel in wording.parcels([sample], AS_CURRENT):
                for number in range(parcel.messages):
                    message = wording.message(parcel, number)
                    messages.append(_told(target, config.payload, message))
    return Worded(messages=messages)


def _alone(record: Record, index: int) -> Record | None:
    """Return the record with one sample of it alone, None when it has no such sample."""
    columns = columns_of(record)
    return part_of(record, [columns.index(index)]) if index in columns else None


def _told(target: str, profile: str, message: Message) -> WordedMessage:
    return WordedMessage(
        target=target,
        profile=profile,
        topic=message.topic,
        payload=message.payload.decode(errors="replace"),
        retain=message.retain,
        headers=list(message.headers),
    )


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
