"""Custom structures of one server: their definitions, and bytes → members by name.

asyncua would build Python classes from the server's words and keep them for the whole process,
where two servers with the same type number overwrite each other's. Here definitions are data, are
asked for only when a tag needs a member, and belong to one session.

    Structure                  member | member | …
    …WithOptionalFields        uint32, a bit for each optional member | those that are there
    Union                      uint32, which member (0: none) | that one        (10000-6, 5.2.6)
"""

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.ua_binary import unpack_uatype
from asyncua.ua.uaerrors import UaError

TYPES_MAX = 500
"""Of one session; a server that describes types without end is not followed."""
DEPTH_MAX = 16
"""Structures within structures."""
ELEMENTS_MAX = 100_000

_BUILT_IN_MAX = 25
_ENUMERATION, _STRUCTURE, _INT32 = 29, 22, 6
_BASE_NUMBERS = range(26, 29)
"""Number, Integer, UInteger: abstract, so that a Variant carries the value."""
_PLAIN_KINDS = (
    ua.StructureType.Structure,
    ua.StructureType.StructureWithOptionalFields,
    ua.StructureType.Union,
)
_HAS_SUBTYPE = ua.NodeId(ua.Int32(45))
"""HasSubtype"""

ReadAttribute = Callable[[Sequence[ua.NodeId], AttributeIds], Awaitable[list[Any]]]
"""Nodes, attribute → the values, None where there is none."""
SupertypesOf = Callable[[Sequence[ua.NodeId]], Awaitable[list[ua.NodeId | None]]]
"""Data types → what each is a subtype of."""


@dataclass(frozen=True, slots=True)
class Structure:
    """A value of a custom structure, opened."""

    members: dict[str, Any]


@dataclass
class Definitions:
    """What a session knows of its server's types."""

    by_encoding: dict[ua.NodeId, ua.StructureDefinition] = field(default_factory=dict)
    by_type: dict[ua.NodeId, ua.StructureDefinition] = field(default_factory=dict)
    built_in: dict[ua.NodeId, int] = field(default_factory=dict)
    """Data type → number of the built-in type that it is encoded as."""

    async def learn(
        self, nodes: Sequence[ua.NodeId], read: ReadAttribute, supertypes: SupertypesOf
    ) -> None:
        """Ask for the types of some variables, and of the members of these. Raises ERRORS."""
        found = await read(nodes, AttributeIds.DataType)
        wanted = {each for each in found if isinstance(each, ua.NodeId)}
        for _ in range(DEPTH_MAX):
            wanted = {each for each in wanted if not self._known(each)}
            if not wanted or len(self.by_type) + len(self.built_in) > TYPES_MAX:
                return
            wanted = await self._learn_types(sorted(wanted, key=str), read, supertypes)

    async def _learn_types(
        self, types: list[ua.NodeId], read: ReadAttribute, supertypes: SupertypesOf
    ) -> set[ua.NodeId]:
        """Ask for some types; return those of their members."""
        definitions = await read(types, AttributeIds.DataTypeDefinition)
        members: set[ua.NodeId] = set()
        simple: list[ua.NodeId] = []
        for data_type, definition in zip(types, definitions, strict=True):
            if isinstance(definition, ua.StructureDefinition):
                self.by_type[data_type] = definition
                self.by_encoding[definition.DefaultEncodingId] = definition
                members |= {each.DataType for each in definition.Fields or ()}
            elif isinstance(definition, ua.EnumDefinition):
                self.built_in[data_type] = _INT32
            else:
                simple.append(data_type)
        for data_type, parent in zip(simple, await self._roots(simple, supertypes), strict=True):
            self.built_in[data_type] = parent
        return members

    async def _roots(self, types: list[ua.NodeId], supertypes: SupertypesOf) -> list[int]:
        """Return the built-in type that each type comes from; 0 where none is found."""
        at: list[ua.NodeId | None] = list(types)
        for _ in range(DEPTH_MAX):
            open_ = [n for n, each in enumerate(at) if each and _built_in(each) is None]
            if not open_:
                break
            parents = await supertypes([each for n in open_ if (each := at[n])])
            for n, parent in zip(open_, parents, strict=True):
                at[n] = parent
        return [(_built_in(each) or 0) if each else 0 for each in at]

    def _known(self, data_type: ua.NodeId) -> bool:
        known = data_type in self.by_type or data_type in self.built_in
        return known or _built_in(data_type) is not None

    def opened(self, value: Any, depth: int = 0) -> Any:
        """Return a value with every structure in it opened that is described.

        Raises ValueError for one whose bytes are not what its description says.
        """
        if isinstance(value, list):
            return [self.opened(each, depth) for each in value]
        if not isinstance(value, ua.ExtensionObject) or depth > DEPTH_MAX:
            return value
        definition = self.by_encoding.get(value.TypeId)
        if definition is None or value.Body is None:
            return value
        data = Buffer(value.Body)
        try:
            structure = self._structure(definition, data, depth)
        except (UaError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"a structure is not what the server says it is: {error}") from error
        if len(data):
            raise ValueError("a structure is longer than the server says")
        return structure

    def _structure(self, definition: ua.StructureDefinition, data: Buffer, depth: int) -> Structure:
        if depth > DEPTH_MAX or definition.StructureType not in _PLAIN_KINDS:
            raise ValueError("its kind is not understood")
        fields = definition.Fields or []
        if definition.StructureType == ua.StructureType.Union:
            chosen = unpack_uatype(ua.VariantType.UInt32, data)
            fields = [fields[chosen - 1]] if chosen else []
        mask = -1
        if definition.StructureType == ua.StructureType.StructureWithOptionalFields:
            mask = unpack_uatype(ua.VariantType.UInt32, data)
        members, optional = {}, 0
        for each in fields:
            present = True
            if definition.StructureType == _PLAIN_KINDS[1] and each.IsOptional:
                present = bool(mask >> optional & 1)
                optional += 1
            members[str(each.Name)] = self._member(each, data, depth) if present else None
        return Structure(members)

    def _member(self, member: ua.StructureField, data: Buffer, depth: int) -> Any:
        if member.ValueRank < 1:
            return self._single(member.DataType, data, depth)
        sizes = [unpack_uatype(ua.VariantType.Int32, data)]
        if member.ValueRank > 1:
            sizes = [unpack_uatype(ua.VariantType.Int32, data) for _ in range(max(0, sizes[0]))]
        count = math.prod(max(0, size) for size in sizes)
        if count > ELEMENTS_MAX:
            raise ValueError(f"an array of {count} elements")
        elements = [self._single(member.DataType, data, depth) for _ in range(count)]
        return _nested(elements, sizes)

    def _single(self, data_type: ua.NodeId, data: Buffer, depth: int) -> Any:
        if nested := self.by_type.get(data_type):
            return self._structure(nested, data, depth + 1)
        number = _built_in(data_type) or self.built_in.get(data_type, 0)
        if not number:
            raise ValueError(f"its member type {data_type.to_string()} is not described")
        value = unpack_uatype(ua.VariantType(number), data)
        return self.opened(value, depth + 1)


def _built_in(data_type: ua.NodeId) -> int | None:
    """Return the number that a type of the standard is encoded as; None for a derived one."""
    number = data_type.Identifier
    if data_type.NamespaceIndex or not isinstance(number, int):
        return None
    if 1 <= number <= _BUILT_IN_MAX:
        return number
    if number == _ENUMERATION:
        return _INT32
    return ua.VariantType.Variant.value if number in _BASE_NUMBERS else None


def _nested(elements: list[Any], sizes: Iterable[int]) -> list[Any]:
    """Return the elements of a matrix, which come row by row, as lists of lists."""
    for size in list(sizes)[:0:-1]:
        step = max(1, size)
        elements = [elements[n : n + step] for n in range(0, len(elements), step)]
    return elements


def supertype_query(data_type: ua.NodeId) -> ua.BrowseDescription:
    """Return the question what a data type is a subtype of."""
    return ua.BrowseDescription(
        NodeId=data_type,
        BrowseDirection=ua.BrowseDirection.Inverse,
        ReferenceTypeId=_HAS_SUBTYPE,
        IncludeSubtypes=False,
        NodeClassMask=0,
        ResultMask=0,
    )
