"""The tree of an OPC UA server below one node: every variable once, with its way from there.

    Objects ─┬─ Press ─┬─ Temperature            variable
             │         ├─ Set ─ Speed            variable below a folder
             │         └─ …
             └─ Server                           left out: it speaks of itself (ask for it by name)

Level by level, many nodes in one request. A node that can be reached on several ways, or that leads
back to one above it, is met once, on its shortest way.
"""

import re
import unicodedata
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field

from asyncua import ua
from asyncua.ua.object_ids import ObjectIds

from collectors.opcua.questions import BROWSES_PER_CALL, Questions, is_elsewhere, local_id, standard

NODES_MAX = 100_000
"""Met in one browse; more are asked for below a node of their own."""
DEPTH_MAX = 40
NAME_MAX = 256
"""Characters of a tag's name (common/tagtable.py)."""

OBJECTS = standard(ObjectIds.ObjectsFolder)
_SERVER = standard(ObjectIds.Server)
_HAS_PROPERTY = standard(ObjectIds.HasProperty)
_LEVEL = re.compile(r"(?:(?P<namespace>\d{1,5}):)?(?P<name>.+)", re.DOTALL)
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(eq=False)
class Met:
    """One node below the beginning."""

    node: ua.NodeId
    levels: tuple[str, ...]
    """Browse names from below the beginning down to this node."""
    variable: bool
    properties: dict[str, ua.NodeId] = field(default_factory=dict)
    """Of a variable: EngineeringUnits, EURange, …"""
    parts: list["Met"] = field(default_factory=list)
    """Of a variable: the variables that it is made of."""
    part_of: "Met | None" = None


class Wrong(Exception):
    """A person asked for what is not there; says what is.

    Not a ValueError, which is what the library raises on bytes that make no sense.
    """


async def variables_below(
    questions: Questions, start: ua.NodeId, *, variable: bool
) -> AsyncGenerator[list[Met], None]:
    """Yield the variables below a node, itself included when it is one, some at a time.

    Of each its properties and parts are known. Raises Wrong when there are too many nodes, and
    the library's errors.
    """
    met = {start: Met(start, (), variable)}
    level = list(met.values())
    for _ in range(DEPTH_MAX):
        below: list[Met] = []
        for first in range(0, len(level), BROWSES_PER_CALL):
            part = level[first : first + BROWSES_PER_CALL]
            children = await questions.children([each.node for each in part])
            for parent, references in zip(part, children, strict=True):
                below += _children(parent, references, met, hide_server=start == OBJECTS)
            yield [each for each in part if each.variable]
            if len(met) > NODES_MAX:
                raise Wrong(
                    f"more than {NODES_MAX} nodes; begin further down, such as at "
                    f"/Objects/{'/'.join(part[0].levels[:1])}"
                )
        level = below


def _children(
    parent: Met,
    references: Sequence[ua.ReferenceDescription],
    met: dict[ua.NodeId, Met],
    *,
    hide_server: bool,
) -> list[Met]:
    below: list[Met] = []
    for reference in references:
        if is_elsewhere(reference.NodeId):
            continue
        node, name = local_id(reference.NodeId), reference.BrowseName.Name or ""
        if parent.variable and reference.ReferenceTypeId == _HAS_PROPERTY:
            parent.properties[name] = node
            continue
        if node in met or (hide_server and node == _SERVER):
            continue
        child = Met(
            node,
            (*parent.levels, name),
            reference.NodeClass == ua.NodeClass.Variable,
        )
        if parent.variable and child.variable:
            parent.parts.append(child)
            child.part_of = parent
        met[node] = child
        below.append(child)
    return below


async def node_at(questions: Questions, path: str) -> tuple[ua.NodeId, tuple[str, ...]]:
    """Return the node at `/Objects/2:Press/2:Temperature`, and its levels below Objects.

    The number before the colon is a namespace and may be left out; `&/` is a slash within a name
    (OPC 10000-4, A.2). Raises Wrong.
    """
    node, way = standard(ObjectIds.RootFolder), ""
    names: list[str] = []
    for written in re.split(r"(?<!&)/", path.strip().strip("/")):
        level = re.sub(r"&(.)", r"\1", written)
        [references] = await questions.children([node])
        found = [each for each in references if _is_named(each.BrowseName, level)]
        if not found:
            names_there = (each.BrowseName for each in references[:10])
            there = ", ".join(f"{each.NamespaceIndex}:{each.Name}" for each in names_there)
            raise Wrong(f"{way or '/'} has no {written!r}; it has: {there or 'nothing'}")
        node, way = local_id(found[0].NodeId), f"{way}/{written}"
        names.append(found[0].BrowseName.Name or "")
    return node, tuple(names[1:] if names[:1] == ["Objects"] else names)


def _is_named(name: ua.QualifiedName, level: str) -> bool:
    if name.Name == level:
        return True
    found = _LEVEL.fullmatch(level)
    return bool(
        found
        and found["namespace"]
        and (name.NamespaceIndex, name.Name) == (int(found["namespace"]), found["name"])
    )


class Names:
    """Browse names → names that tags may have, each given once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, levels: Iterable[str]) -> str:
        """Return the levels joined by `/`, without what a topic cannot hold; never one twice."""
        fitting = [_fitting(each) for each in levels] or ["Value"]
        name = "/".join(fitting)[-NAME_MAX + 4 :].lstrip("/_")
        unique, number = name, 1
        while unique.casefold() in self._taken:
            number += 1
            unique = f"{name}-{number}"
        self._taken.add(unique.casefold())
        return unique


def _fitting(level: str) -> str:
    # "Öl·Druck [bar]" → "Ol_Druck_bar": readable, where a plain replacement leaves only lines.
    plain = unicodedata.normalize("NFKD", level.replace("ß", "ss"))
    plain = "".join(each for each in plain if not unicodedata.combining(each))
    return _UNFIT.sub("_", plain).strip("_") or "node"
