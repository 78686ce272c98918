"""A decoder fed by atheris, which looks for bytes that reach new code: run as a process.

    python -m tests.soak.fuzz_decoders s7 CORPUS_DIR -max_total_time=600

Each target takes whatever bytes come for a device's reply, and demands what its caller relies on: a
value of the shape that was asked for, or the decoder's own refusal. Anything else ends the process.
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import FunctionType

from collectors.modbus.checks import checked
from collectors.modbus.framing import (
    AsciiFraming,
    Awaited,
    Framing,
    Malformed,
    MbapFraming,
    Query,
    RtuFraming,
)
from collectors.modbus.reading import Refused
from collectors.opcua.client import ERRORS
from collectors.opcua.wire import message_in, publication_in, samples_in
from collectors.s7.pdu import Item, NotS7, memory_of, negotiated_pdu_bytes, reference_of
from collectors.s7.userdata import NotAnswered, block_numbers, blocks_of, clock_ns, size_bytes

FRAMINGS: list[type[Framing]] = [MbapFraming, RtuFraming, AsciiFraming]
QUERIES = [Query(1, 1, 0, 19), Query(1, 3, 0, 1), Query(17, 4, 107, 3), Query(247, 3, 9, 125)]
ITEMS = [Item("DB", 1, 0, 3), Item("M", 0, 4, 4), Item("DB", 40, 100, 1)]


def s7(data: bytes) -> None:
    """Feed the parsers of everything that an S7 answers."""
    for parse in (blocks_of, size_bytes, clock_ns):
        with suppress(NotAnswered):
            parse(data)
    with suppress(NotAnswered):
        block_numbers(data)
    with suppress(NotS7):
        reference_of(data)
    with suppress(NotS7):
        negotiated_pdu_bytes(data, 480)
    for count in range(1, len(ITEMS) + 1):
        items = ITEMS[:count]
        with suppress(NotS7):
            found = memory_of(data, items)
            assert len(found) == count
            for item, memory in zip(items, found, strict=True):
                assert not isinstance(memory, bytes) or len(memory) == item.length


def modbus(data: bytes) -> None:
    """Feed a framing and the checks of its replies, by the first byte; in pieces, by the second."""
    if len(data) < 3:
        return
    query = QUERIES[data[0] % len(QUERIES)]
    framing = FRAMINGS[data[0] // len(QUERIES) % len(FRAMINGS)]()
    awaited = Awaited(
        query, transaction=7, owed=frozenset({(3, 4)}) if data[0] & 128 else frozenset()
    )
    cut = 2 + data[1] % len(data)
    received = bytearray()
    with suppress(Malformed):
        for piece in (data[2:cut], data[cut:]):
            received += piece
            pdu = framing.take(received, awaited)
            if pdu is not None:
                reply = checked(pdu, query)
                assert isinstance(reply, Refused) or len(reply) == query.quantity
                return


def opcua(data: bytes) -> None:
    """Feed the readers of publications and of values that were read."""
    for decode in (message_in, publication_in, lambda body: samples_in(body, 2)):
        with suppress(*ERRORS):
            decode(data)


TARGETS: dict[str, Callable[[bytes], None]] = {"s7": s7, "modbus": modbus, "opcua": opcua}
FUZZED = ("collectors.s7", "collectors.modbus", "collectors.opcua.wire")
SEEDS = {
    "s7": [
        "320300000007000200140000" + "0403" + "ff04001801020300" + "ff04002001020304" + "0a000000",
        "320300000007000800000000" + "f0000001000101e0",
    ],
    "modbus": ["02ff" + "000700000009" + "11" + "0406" + "000100020003"],
    "opcua": ["02000000" + "010601000000" + "030b000000000000000000000000"],
}
"""Replies as devices give them, in hexadecimal: what the search begins with."""


def main() -> None:
    """Instrument the decoders, and feed one of them until told to end."""
    atheris = import_module("atheris")
    for name, module in list(sys.modules.items()):
        if name.startswith(FUZZED):
            for each in vars(module).values():
                if getattr(each, "__module__", "") != name:
                    continue
                for function in [each, *(vars(each).values() if isinstance(each, type) else ())]:
                    if isinstance(function, FunctionType):
                        atheris.instrument_func(function)
    target, corpus = sys.argv[1:3]
    for number, seed in enumerate(SEEDS[target]):
        Path(corpus, f"seed-{number}").write_bytes(bytes.fromhex(seed))
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
