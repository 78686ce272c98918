"""What `tailrace read` and `tailrace browse` ask an OPC UA server (inspection.py)."""

import asyncio
import dataclasses
import itertools
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import msgspec
from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds

from collectors.inspection import Found, Guess, Reading
from collectors.opcua.address import parse_address
from collectors.opcua.browsing import OBJECTS, Wrong, node_at, variables_below
from collectors.opcua.client import ERRORS, as_unavailable, new_client, status_name
from collectors.opcua.config import OpcuaAccess, OpcuaSettings
from collectors.opcua.decode import instant_ns
from collectors.opcua.describing import (
    Describer,
    Types,
    address_of,
    plain,
    read_variables,
    type_within,
)
from collectors.opcua.describing import type_text as described_type
from collectors.opcua.questions import Questions, value_of
from common.clock import monotonic_s

DISCONNECT_S = 1.0
MEMBERS_SHOWN = 20
"""Of those that a structure has instead of the one that was asked for."""

Path = tuple[int | str, ...]
"""The way into a value: indexes of arrays, names of structures' members."""

_SUFFIX = re.compile(
    r"(?P<node>.*?)(?:;index=(?P<index>\d+(?:,\d+)*))?(?:;field=(?P<field>[^;]+))?", re.DOTALL
)
_WHOLE = (ua.LocalizedText, ua.QualifiedName, ua.NodeId, ua.StatusCode, ua.ExtensionObject)
"""What the library keeps in a class of its own, and people take for one value."""
_ADVICE = {
    "BadNodeIdUnknown": "the server has no such node; `tailrace browse` shows what it has",
    "BadNodeIdInvalid": "the server takes this for no node id; `tailrace browse` shows some",
    "BadUserAccessDenied": "the session's user may not read it; give user and password_file",
    "BadNotReadable": "the node can only be written",
    "BadAttributeIdInvalid": "the node is no variable, it has no value; browse below it",
    "BadWaitingForInitialData": "the server itself has no value of it yet",
    "BadDecodingError": "the server sent a value that nobody can parse",
}


class OpcuaInspector:
    """One session, for questions of a person (inspection.py: Inspector)."""

    def __init__(self, client: Client, config: OpcuaAccess) -> None:
        self._client = client
        self._config = config
        self._questions = Questions(client)
        self._namespaces: list[str] = []
        self._types = Types(self._questions)
        self._structures_known = False

    async def read(self, address: str, type_text: str) -> list[Reading]:
        """Return what stands at a node; of an array or a structure a Reading for each part.

        The address is a node id with `;index=` or `;field=` behind it, or a browse path. Values
        carry their type, so `type_text` is only compared.
        """
        node_text, wanted = _cut(address.strip())
        with _answering(self._config):
            node = await self._node(node_text)
            answer, reply_s = await self._value(node)
            [variable] = await read_variables(self._questions, [node])
            await self._types.learn([variable.data_type])
            stem = address_of(node, await self._known_namespaces())
        name, _ = described_type(variable, self._types)
        reading = Reading(
            address=stem,
            source_type=name or "unknown",
            wire=f"Read {node.to_string()}, attribute 13 (Value)",
            value=None,
            quality=answer.StatusCode.value if answer.StatusCode else 0,
            reply_s=reply_s,
            source_at_ns=instant_ns(answer.SourceTimestamp),
            note=_note(answer, node, type_text, name),
        )
        if value_of(answer) is None:
            return [reading]
        # Whole, and not by IndexRange: servers are known that do not look at it.
        parts = list(_opened(value_of(answer), ()))
        chosen = [each for each in parts if each[0][: len(wanted)] == wanted]
        if not chosen:
            there = ", ".join(stem + _suffix(path) for path, _ in parts[:MEMBERS_SHOWN])
            raise ValueError(f"{address} is not there; the value has: {there}")
        return [
            msgspec.structs.replace(
                reading,
                address=stem + _suffix(path),
                source_type=type_within(variable, self._types, path) or reading.source_type,
                value=leaf,
            )
            for path, leaf in chosen
        ]

    async def guess(self, address: str) -> list[Guess]:
        """Raise ValueError: there is nothing to guess."""
        raise ValueError(
            f"values of OPC UA carry their type; `read` shows the value of {address} and its type"
        )

    async def browse(self, under: str) -> AsyncGenerator[Found, None]:
        """Yield every variable below a node, Objects when none is named (browsing.py)."""
        with _answering(self._config):
            start, above, variable = await self._beginning(under.strip())
            describer = Describer(self._questions, await self._known_namespaces(), above)
            async for found in variables_below(self._questions, start, variable=variable):
                for row in await describer.rows_of(found):
                    yield row

    async def _beginning(self, under: str) -> tuple[ua.NodeId, tuple[str, ...], bool]:
        """Return where a browse begins, the levels above it, and whether it is a variable."""
        start: ua.NodeId = OBJECTS
        above: tuple[str, ...] = ()
        if under.startswith("/"):
            start, above = await node_at(self._questions, under)
        elif under:
            start = await self._node(under)
        kind, name = await self._questions.read(
            [(start, AttributeIds.NodeClass), (start, AttributeIds.BrowseName)]
        )
        node_class, browse_name = value_of(kind), value_of(name)
        if node_class is None:
            raise Wrong(f"the server has no node {under!r}; begin without one, to see what it has")
        if isinstance(browse_name, ua.QualifiedName) and start != OBJECTS and not above:
            above = (browse_name.Name or "",)
        return start, above, node_class == ua.NodeClass.Variable

    async def _value(self, node: ua.NodeId) -> tuple[ua.DataValue, float]:
        """Return the answer to a read of a value, and how long it took."""
        asked_s = monotonic_s()
        [answer] = await self._questions.read([(node, AttributeIds.Value)])
        reply_s = monotonic_s() - asked_s
        if not self._structures_known and _is_closed(value_of(answer)):
            # The library makes classes of the server's own types: then structures can be opened.
            self._structures_known = True
            await self._client.load_data_type_definitions()
            [answer] = await self._questions.read([(node, AttributeIds.Value)])
        return answer, reply_s

    async def _node(self, text: str) -> ua.NodeId:
        """Return the node that a person wrote. Raises Wrong."""
        if text.startswith("/"):
            return (await node_at(self._questions, text))[0]
        try:
            address = parse_address(text, "String")
        except ValueError as error:
            raise Wrong(str(error)) from error
        index = address.namespace
        if isinstance(index, str):
            namespaces = await self._known_namespaces()
            if index not in namespaces:
                known = ", ".join(namespaces)
                raise Wrong(f"the server has no namespace {index!r}; it has: {known}")
            index = namespaces.index(index)
        return ua.NodeId(address.identifier, index)  # type: ignore[arg-type]  # its own ints

    async def _known_namespaces(self) -> list[str]:
        if not self._namespaces:
            self._namespaces = await self._client.get_namespace_array()
        return self._namespaces


@asynccontextmanager
async def inspect(settings: object) -> AsyncIterator[OpcuaInspector]:
    """Connect for the length of the block (inspection.py: Inspect)."""
    if not isinstance(settings, OpcuaSettings):
        raise TypeError(f"expected OpcuaSettings, found {type(settings).__name__}")
    logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)
    with as_unavailable(settings.config):
        client = await new_client(settings.config)
    try:
        with as_unavailable(settings.config):
            await client.connect()
        yield OpcuaInspector(client, settings.config)
    finally:
        with suppress(*ERRORS):
            async with asyncio.timeout(DISCONNECT_S):
                await client.disconnect()
        client.disconnect_socket()


@contextmanager
def _answering(config: OpcuaAccess) -> Iterator[None]:
    """Turn the library's errors into SourceUnavailable, and a person's into ValueError."""
    try:
        with as_unavailable(config):
            yield
    except Wrong as error:
        raise ValueError(str(error)) from error


def _note(answer: ua.DataValue, node: ua.NodeId, type_asked: str, name: str) -> str:
    """Return what a person should know beside the value."""
    notes = [f"also {node.to_string()}"] if node.NamespaceIndex else []
    if answer.ServerTimestamp is not None:
        notes.append(f"server time {answer.ServerTimestamp:%Y-%m-%dT%H:%M:%S.%f}Z")
    if answer.StatusCode is not None and not answer.StatusCode.is_good():
        status = status_name(answer.StatusCode.value)
        notes.insert(0, _ADVICE.get(status, status))
    elif type_asked and type_asked.lower().partition("[")[0] != name.lower().partition("[")[0]:
        notes.insert(0, f"the value is a {name}, not a {type_asked}")
    return "; ".join(notes)


def _is_closed(value: object) -> bool:
    """Return whether a value is a structure of a type that the library does not know yet."""
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, ua.ExtensionObject)


def _opened(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Yield each value within arrays and structures, and the way to it."""
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from _opened(each, (*path, index))
    elif dataclasses.is_dataclass(value) and not isinstance(value, _WHOLE):
        for each in dataclasses.fields(value):
            if each.name not in ("Encoding", "TypeId", "data_type"):
                yield from _opened(getattr(value, each.name), (*path, each.name))
    else:
        yield path, plain(value)


def _cut(address: str) -> tuple[str, Path]:
    """Return the node id, and the way into its value that is written behind it."""
    found = _SUFFIX.fullmatch(address)
    if found is None:
        return address, ()
    steps = [*(found["index"] or "").split(","), *(found["field"] or "").split("/")]
    return found["node"], tuple(int(each) if each.isdecimal() else each for each in steps if each)


def _suffix(path: Path) -> str:
    """Return what stands behind a node id to name a part of its value alone."""
    own = tuple(itertools.takewhile(lambda step: isinstance(step, int), path))
    index = f";index={','.join(map(str, own))}" if own else ""
    rest = path[len(own) :]
    return index + (f";field={'/'.join(map(str, rest))}" if rest else "")
