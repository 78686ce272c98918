"""Variables of an OPC UA server → rows of the tag table: address, type, unit, and what it is now.

    Double                      one row
    Double[8], Double[2,3]      one row, a column for each element when it is compiled
    a structure                 one row for each member: `<node>;field=Limits/High`
    an array of structures      one row for each member of each: `<node>;index=3;field=High`
    a variable with parts       its parts, where the server shows each as a node of its own

What cannot be a tag (a type that nobody describes, an array of unknown length) is shown as not
readable, with the reason as its description.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds

from collectors.inspection import Found
from collectors.opcua.address import TYPES, NodeAddress
from collectors.opcua.browsing import Met, Names
from collectors.opcua.decode import scalar_of
from collectors.opcua.questions import Questions, standard, value_of
from collectors.opcua.unece import unit_of
from common.records import ValueType

STRUCTURE_DEPTH_MAX = 8
MEMBERS_MAX = 2_000
"""Rows of one variable."""
SUPERTYPES_MAX = 20
"""A type that is not built in after so many steps is taken for unknown."""
TEXT_MAX = 1_024
"""Characters of a description in the tag table."""

STRUCTURE, ENUMERATION = "Structure", "Enumeration"
_BUILT_IN = {
    standard(kind.value): kind.name
    for kind in ua.VariantType
    if kind not in (ua.VariantType.Null, ua.VariantType.ExtensionObject, ua.VariantType.Variant)
} | {standard(22): STRUCTURE, standard(29): ENUMERATION}
"""Data types of namespace 0 (OPC 10000-6, A.3) that say how a value is sent."""
_OPEN = frozenset(standard(number) for number in (24, 26, 27, 28))
"""BaseDataType, Number, Integer, UInteger: the value itself says what it is."""
_KINDS = {
    ua.NodeIdType.String: "s",
    ua.NodeIdType.Guid: "g",
    ua.NodeIdType.ByteString: "b",
}
_ATTRIBUTES = (
    AttributeIds.DataType,
    AttributeIds.ValueRank,
    AttributeIds.ArrayDimensions,
    AttributeIds.AccessLevel,
    AttributeIds.UserAccessLevel,
    AttributeIds.Description,
    AttributeIds.Value,
)
_CURRENT_READ = 1
_UNDESCRIBED = "a structure that the server does not describe"


class Variable:
    """What a server says of one variable."""

    def __init__(self, answers: Sequence[ua.DataValue]) -> None:
        """`answers` in the order of _ATTRIBUTES."""
        found: list[Any] = [value_of(each) for each in answers[:-1]]
        self.data_type, self.rank, self.dimensions, access, user_access, self.description = found
        self.value = answers[-1]
        self.readable = all(
            level & _CURRENT_READ for level in (access, user_access) if isinstance(level, int)
        )
        """Whether we may read its value."""


@dataclass
class Types:
    """What is known of the server's data types; grows as it is asked."""

    questions: Questions
    names: dict[ua.NodeId, str] = field(default_factory=lambda: dict(_BUILT_IN))
    """Data type → built-in type, Structure or Enumeration; empty for what nobody knows."""
    members: dict[ua.NodeId, list[ua.StructureField]] = field(default_factory=dict)

    async def learn(self, types: Iterable[object]) -> None:
        """Ask for whatever is not known yet of some types, and of their members' types."""
        unknown = {each for each in types if isinstance(each, ua.NodeId)} - self.names.keys()
        for _ in range(STRUCTURE_DEPTH_MAX):
            if not unknown:
                return
            await self._learn_names(unknown)
            structures = [
                each
                for each in unknown
                if self.names[each] == STRUCTURE and each not in self.members
            ]
            asked = await self.questions.values(structures, AttributeIds.DataTypeDefinition)
            for each, definition in zip(structures, asked, strict=True):
                if isinstance(definition, ua.StructureDefinition):
                    self.members[each] = list(definition.Fields or [])
            within = (each.DataType for node in structures for each in self.members.get(node, ()))
            unknown = {each for each in within if each not in self.names}

    async def _learn_names(self, types: Iterable[ua.NodeId]) -> None:
        above = {each: each for each in types}
        for _ in range(SUPERTYPES_MAX):
            open_types = {each: top for each, top in above.items() if top not in self.names}
            open_types = {each: top for each, top in open_types.items() if top not in _OPEN}
            if not open_types:
                break
            tops = list(dict.fromkeys(open_types.values()))
            found = dict(zip(tops, await self.questions.supertypes(tops), strict=True))
            above |= {each: found[top] or ua.NodeId() for each, top in open_types.items()}
        for each, top in above.items():
            self.names[each] = self.names.get(top, "")


class Member(NamedTuple):
    """One value within a structure."""

    path: tuple[str, ...]
    type: str
    """For the tag table; empty when it cannot be a tag."""
    why_not: str = ""


async def read_variables(questions: Questions, nodes: Sequence[ua.NodeId]) -> list[Variable]:
    """Return what the server says of each node. Raises the library's errors."""
    wanted = [(node, attribute) for node in nodes for attribute in _ATTRIBUTES]
    answers = await questions.read(wanted)
    width = len(_ATTRIBUTES)
    return [Variable(answers[at : at + width]) for at in range(0, len(answers), width)]


class Describer:
    """Turns variables into rows, some at a time; what it has learnt of types and names stays."""

    def __init__(
        self, questions: Questions, namespaces: Sequence[str], above: tuple[str, ...]
    ) -> None:
        """`above` are the levels over where the browse began."""
        self._questions = questions
        self._namespaces = namespaces
        self._above = above
        self._types = Types(questions)
        self._names = Names()
        self._wholes: dict[ua.NodeId, str] = {}
        """Variables that have parts, and their types: a part comes after its whole."""

    async def rows_of(self, found: Sequence[Met]) -> list[Found]:
        """Return the rows of some variables. Raises the library's errors."""
        variables = await read_variables(self._questions, [each.node for each in found])
        await self._types.learn(each.data_type for each in variables)
        units = await _units(self._questions, found)
        rows: list[Found] = []
        for met, variable in zip(found, variables, strict=True):
            text, _ = type_text(variable, self._types)
            if met.parts:
                self._wholes[met.node] = text
            if not self._told_by_another(met, text):
                rows += self._rows(met, variable, units.get(met.node, ""))
        return rows

    def _rows(self, met: Met, variable: Variable, unit: str) -> Iterator[Found]:
        node = address_of(met.node, self._namespaces)
        for suffix, member in _members(variable, self._types):
            levels = (*self._above, *met.levels, *suffix.levels, *member.path)
            yield Found(
                name=self._names.of(levels),
                address=node + suffix.text + _field(member.path),
                type=member.type,
                unit=unit,
                description=(member.why_not or _description(met, variable))[:TEXT_MAX],
                readable=variable.readable and bool(member.type),
                value=None if member.path or suffix.text else plain(value_of(variable.value)),
            )

    def _told_by_another(self, met: Met, text: str) -> bool:
        """Return whether the rows of its parts, or of what it is a part of, say the same."""
        whole = met.part_of
        while whole is not None:
            of_whole = self._wholes[whole.node]
            if "[" in of_whole and not of_whole.startswith(STRUCTURE):
                return True
            whole = whole.part_of
        return bool(met.parts) and text.startswith(STRUCTURE)


def address_of(node: ua.NodeId, namespaces: Sequence[str]) -> str:
    """Return the form of a node id that stays when namespaces are numbered anew."""
    namespace: int | str = node.NamespaceIndex
    if 0 < node.NamespaceIndex < len(namespaces):
        namespace = namespaces[node.NamespaceIndex]
    kind = _KINDS.get(node.NodeIdType, "i")
    identifier: Any = node.Identifier
    return str(NodeAddress(namespace, kind, identifier, ValueType.STRING))


def type_text(variable: Variable, types: Types) -> tuple[str, str]:
    """Return the type for the tag table, and why there is none; Structure for a structure."""
    name = types.names.get(variable.data_type, "")
    if not name and variable.value.Value is not None:
        kind = variable.value.Value.VariantType
        name = STRUCTURE if kind == ua.VariantType.ExtensionObject else kind.name
    if name != STRUCTURE and name not in TYPES:
        return "", f"a type that cannot be a tag: {name or variable.data_type}"
    return _with_size(name, variable.rank, _dimensions(variable))


def type_within(variable: Variable, types: Types, path: Sequence[int | str]) -> str:
    """Return the type of one value within an array or a structure, empty when it is not known."""
    names = tuple(step for step in path if isinstance(step, str))
    text = type_text(variable, types)[0]
    if names:
        text = {each.path: each.type for each in _within(variable.data_type, types, (), 0)}.get(
            names, ""
        )
    return text.partition("[")[0]


class _Suffix(NamedTuple):
    levels: tuple[str, ...]
    text: str


_WHOLE = _Suffix((), "")


def _members(variable: Variable, types: Types) -> Iterator[tuple[_Suffix, Member]]:
    """Yield each row that a variable needs: which element of an array, which member within."""
    text, why_not = type_text(variable, types)
    if not text.startswith(STRUCTURE):
        yield _WHOLE, Member((), text, why_not)
        return
    if variable.data_type not in types.members:
        yield _WHOLE, Member((), "", _UNDESCRIBED)
        return
    suffixes: Iterable[_Suffix] = [_WHOLE]
    if text != STRUCTURE:
        ranges = (range(size) for size in _dimensions(variable))
        suffixes = (
            _Suffix(tuple(map(str, index)), f";index={','.join(map(str, index))}")
            for index in itertools.product(*ranges)
        )
    each_member = list(_within(variable.data_type, types, (), 0))
    yield from itertools.islice(
        ((suffix, member) for suffix in suffixes for member in each_member), MEMBERS_MAX
    )


def _within(
    data_type: ua.NodeId, types: Types, above: tuple[str, ...], depth: int
) -> Iterator[Member]:
    for each in types.members.get(data_type, ()):
        path = (*above, each.Name or "")
        name = types.names.get(each.DataType, "")
        if name == STRUCTURE and (each.ValueRank or -1) < 1 and each.DataType in types.members:
            if depth < STRUCTURE_DEPTH_MAX:
                yield from _within(each.DataType, types, path, depth + 1)
            continue
        if name not in TYPES:
            yield Member(path, "", _UNDESCRIBED if name == STRUCTURE else "a type of no tag")
            continue
        text, why_not = _with_size(name, each.ValueRank, list(each.ArrayDimensions or []))
        yield Member(path, text, why_not)


def _with_size(name: str, rank: Any, dimensions: Sequence[int]) -> tuple[str, str]:
    """Return `Double` or `Double[8]`, or why an array has no type: nobody knows its length."""
    if not dimensions and (rank is None or rank < 0):
        return name, ""
    if not dimensions or not all(dimensions):
        return "", f"an array of {name} without a length; write {name}[…] with the one you want"
    return f"{name}[{','.join(map(str, dimensions))}]", ""


def _dimensions(variable: Variable) -> list[int]:
    """Return the lengths of an array as declared, else as it is now; empty for a scalar."""
    declared = [int(each) for each in variable.dimensions or []]
    if declared and all(declared):
        return declared
    value = value_of(variable.value)
    if not isinstance(value, list):
        return declared
    now = variable.value.Value.Dimensions if variable.value.Value else None
    return [int(each) for each in now] if now and len(now) > 1 else [len(value)]


async def _units(questions: Questions, found: Sequence[Met]) -> dict[ua.NodeId, str]:
    having = [each for each in found if "EngineeringUnits" in each.properties]
    values = await questions.values(
        [each.properties["EngineeringUnits"] for each in having], AttributeIds.Value
    )
    return {
        each.node: unit_of(value.NamespaceUri, value.UnitId, _text(value.DisplayName))
        for each, value in zip(having, values, strict=True)
        if isinstance(value, ua.EUInformation)
    }


def _description(met: Met, variable: Variable) -> str:
    """Return what the server says of a variable, when it says more than its name."""
    text = _text(variable.description)
    return "" if text in met.levels[-1:] else text


def _field(path: Sequence[str]) -> str:
    return f";field={'/'.join(path)}" if path else ""


def _text(text: object) -> str:
    return (text.Text or "") if isinstance(text, ua.LocalizedText) else ""


def plain(value: object) -> Any:
    """Return a value as people and JSON take it."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, ua.LocalizedText):
        return value.Text or ""
    if isinstance(value, datetime | UUID | str):
        return scalar_of(value, ValueType.STRING)
    if isinstance(value, bool | float | bytes) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    return str(value)
