"""Many small questions to an OPC UA server in few requests: attributes and references of nodes.

A server may take fewer operations in one request than are asked (BadTooManyOperations), and one
value that nobody can parse spoils the whole answer: then the question is asked again in halves,
until it is taken, or only the node to blame is left without an answer.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds

from collectors.opcua.client import MALFORMED, status_name
from common.records import Quality

READS_PER_CALL = 1_000
BROWSES_PER_CALL = 250
REFERENCES_PER_NODE = 1_000
"""Of one node in one answer; the server keeps the rest for BrowseNext."""
REFERENCES_MAX = 100_000
"""Of one node; a server that continues without end is not followed."""


def standard(number: int) -> ua.NodeId:
    """Return a node of the standard, in namespace 0."""
    return ua.NodeId(ua.Int32(number))


HIERARCHICAL = standard(ObjectIds.HierarchicalReferences)
HAS_SUBTYPE = standard(ObjectIds.HasSubtype)
_OBJECTS_AND_VARIABLES = ua.NodeClass.Object | ua.NodeClass.Variable

Q = TypeVar("Q")
A = TypeVar("A")
Node = ua.NodeId | ua.ExpandedNodeId


class Questions:
    """One session, for questions. Every method raises the library's errors (client.py: ERRORS)."""

    def __init__(self, client: Client) -> None:
        self._services = client.uaclient.session

    async def read(self, wanted: Sequence[tuple[ua.NodeId, AttributeIds]]) -> list[ua.DataValue]:
        """Return one answer for each node and attribute, in their order."""

        async def ask(part: Sequence[tuple[ua.NodeId, AttributeIds]]) -> list[ua.DataValue]:
            return await self._services.read(
                ua.ReadParameters(
                    TimestampsToReturn=ua.TimestampsToReturn.Both,
                    NodesToRead=[
                        ua.ReadValueId(NodeId=node, AttributeId=attribute)
                        for node, attribute in part
                    ],
                )
            )

        unreadable = ua.DataValue(StatusCode=ua.StatusCode(ua.UInt32(Quality.BAD_DECODING_ERROR)))
        return await _in_parts(wanted, READS_PER_CALL, ask, unreadable)

    async def values(
        self, nodes: Sequence[ua.NodeId], attribute: AttributeIds
    ) -> list[object | None]:
        """Return an attribute of each node, None where there is none."""
        answers = await self.read([(node, attribute) for node in nodes])
        return [value_of(answer) for answer in answers]

    async def children(self, nodes: Sequence[ua.NodeId]) -> list[list[ua.ReferenceDescription]]:
        """Return what is below each node: objects and variables."""
        return await self._references(
            nodes, HIERARCHICAL, ua.BrowseDirection.Forward, _OBJECTS_AND_VARIABLES
        )

    async def supertypes(self, types: Sequence[ua.NodeId]) -> list[ua.NodeId | None]:
        """Return what each type is a kind of, None where nothing is above it."""
        found = await self._references(types, HAS_SUBTYPE, ua.BrowseDirection.Inverse, 0)
        return [local_id(each[0].NodeId) if each else None for each in found]

    async def _references(
        self, nodes: Sequence[ua.NodeId], kind: ua.NodeId, direction: ua.BrowseDirection, mask: int
    ) -> list[list[ua.ReferenceDescription]]:
        async def ask(part: Sequence[ua.NodeId]) -> list[list[ua.ReferenceDescription]]:
            parameters = ua.BrowseParameters(
                RequestedMaxReferencesPerNode=REFERENCES_PER_NODE,
                NodesToBrowse=[
                    ua.BrowseDescription(
                        NodeId=node,
                        BrowseDirection=direction,
                        ReferenceTypeId=kind,
                        IncludeSubtypes=True,
                        NodeClassMask=mask,
                        ResultMask=ua.BrowseResultMask.All,
                    )
                    for node in part
                ],
            )
            results = await self._services.browse(parameters)
            if len(part) > 1 and any(map(_kept_too_little, results)):
                raise ua.uaerrors.BadTooManyOperations
            return await self._continued(results)

        nothing: list[ua.ReferenceDescription] = []
        return await _in_parts(nodes, BROWSES_PER_CALL, ask, nothing)

    async def _continued(
        self, results: Sequence[ua.BrowseResult]
    ) -> list[list[ua.ReferenceDescription]]:
        """Return the references of each result, with those that the server kept back."""
        found = [list(result.References or []) for result in results]
        open_points = {
            place: result.ContinuationPoint
            for place, result in enumerate(results)
            if result.ContinuationPoint
        }
        while open_points:
            # The library's default releases the points, and so asks for nothing more.
            answers = await self._services.browse_next(
                ua.BrowseNextParameters(
                    ReleaseContinuationPoints=False, ContinuationPoints=list(open_points.values())
                )
            )
            points = dict(open_points)
            open_points = {}
            for place, answer in zip(points, answers, strict=True):
                answer.StatusCode.check()  # What is missing without a word would look complete.
                found[place] += answer.References or []
                if answer.ContinuationPoint and len(found[place]) < REFERENCES_MAX:
                    open_points[place] = answer.ContinuationPoint
        return found


def value_of(answer: ua.DataValue) -> object | None:
    """Return what an answer holds, None when it is Bad or holds nothing."""
    if answer.StatusCode is not None and not answer.StatusCode.is_good():
        return None
    value: object | None = answer.Value.Value if answer.Value is not None else None
    return value


def is_elsewhere(node: Node) -> bool:
    """Return whether a reference leads to another server, or names a namespace it does not have."""
    return isinstance(node, ua.ExpandedNodeId) and bool(node.NamespaceUri or node.ServerIndex)


def local_id(node: Node) -> ua.NodeId:
    """Return a reference's target as a node of this server."""
    return ua.NodeId(node.Identifier, node.NamespaceIndex, node.NodeIdType)


def _kept_too_little(result: ua.BrowseResult) -> bool:
    """Return whether the server could not keep the rest of so many nodes at once."""
    return status_name(result.StatusCode.value) == "BadNoContinuationPoints"


async def _in_parts(
    questions: Sequence[Q],
    most: int,
    ask: Callable[[Sequence[Q]], Awaitable[list[A]]],
    unanswered: A,
) -> list[A]:
    """Ask in parts of at most `most`, in halves where a part fails; keep the order."""
    answers: list[A] = []
    for first in range(0, len(questions), most):
        part = questions[first : first + most]
        try:
            found = await ask(part)
            if len(found) != len(part):
                raise ValueError(f"{len(found)} answers to {len(part)} questions")
            answers += found
        except (ua.uaerrors.BadTooManyOperations, ua.uaerrors.UaStructParsingError, *MALFORMED):
            if len(part) == 1:
                answers.append(unanswered)
            else:
                answers += await _in_parts(part, -(-len(part) // 2), ask, unanswered)
    return answers
