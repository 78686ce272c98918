"""Goal: what a server offers becomes rows of a tag table, with few requests; a value is explained.

Method: a real server with folders, arrays, structures, units, cycles and 5,000 variables; stand-ins
for servers that take few operations at once, or keep references back, which asyncua's never does.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from browsed_server import browsed
from secured_server import between

from collectors.inspection import Found
from collectors.opcua.browsing import Names
from collectors.opcua.client import status_name
from collectors.opcua.config import OpcuaSettings, keys_of_url
from collectors.opcua.inspector import OpcuaInspector, inspect
from collectors.opcua.questions import REFERENCES_MAX, Questions
from collectors.opcua.unece import unit_of

Compile = Callable[..., OpcuaSettings]

ANY = ("A", "i=2258", "DateTime")
LEVEL = re.compile(r"[A-Za-z0-9.-][A-Za-z0-9_.-]*")
NSU = "nsu=http://acme.com/press;s="


@pytest.fixture(scope="module")
def press() -> Iterator[str]:
    """The endpoint of a server that all tests here ask."""
    with browsed() as endpoint:
        yield endpoint


@pytest.fixture
async def asked(press: str, compiled: Compile) -> AsyncIterator[OpcuaInspector]:
    async with inspect(compiled(press, ANY, reply_timeout_ms=20_000)) as inspector:
        yield inspector


async def rows(inspector: OpcuaInspector, under: str = "") -> dict[str, Found]:
    found = [row async for row in inspector.browse(under)]
    assert len({row.name.casefold() for row in found}) == len(found), "no name twice"
    return {row.name: row for row in found}


async def test_what_a_server_offers_becomes_rows(asked: OpcuaInspector) -> None:
    found = await rows(asked)

    shown = {
        name: (row.address, row.type, row.unit, row.value)
        for name, row in found.items()
        if row.address.startswith(NSU)
    }
    assert shown == {
        "Speeds": (f"{NSU}Press.Speeds", "Double[3]", "", [1.0, 2.0, 3.0]),
        "Press/Ol-Temperatur_C": (f"{NSU}Press.Temp", "Double", "Cel", 41.5),
        "Press/Started": (f"{NSU}Press.Started", "DateTime", "", "2026-01-02T00:00:00Z"),
        "Press/Secret": (f"{NSU}Press.Secret", "Int64", "", 1),
        "Press/Recipe/Name": (f"{NSU}Press.Recipe;field=Name", "String", "", None),
        "Press/Recipe/Limits/High": (f"{NSU}Press.Recipe;field=Limits/High", "Double", "", None),
        "Press/Recipe/Limits/Low": (f"{NSU}Press.Recipe;field=Limits/Low", "Double", "", None),
        "Press/Recipe/Steps": (f"{NSU}Press.Recipe;field=Steps", "Int32[1]", "", None),
        "Press/Zones/0/High": (f"{NSU}Press.Zones;index=0;field=High", "Double", "", None),
        "Press/Zones/0/Low": (f"{NSU}Press.Zones;index=0;field=Low", "Double", "", None),
        "Press/Zones/1/High": (f"{NSU}Press.Zones;index=1;field=High", "Double", "", None),
        "Press/Zones/1/Low": (f"{NSU}Press.Zones;index=1;field=Low", "Double", "", None),
        "Press/Mode": (f"{NSU}Press.Mode", "Enumeration", "", 1),
        "Press/Drive/Motor/Rpm": (f"{NSU}Press.Motor.Rpm", "Int64", "", 1_450),
    }
    assert found["Press/Ol-Temperatur_C"].description == "Oil temperature"
    assert [name for name, row in found.items() if not row.readable] == ["Press/Secret"]
    assert not any(name.startswith("Server") for name in found), "it would only speak of itself"


async def test_rows_are_what_a_tag_table_takes(asked: OpcuaInspector, compiled: Compile) -> None:
    plain = [
        (row.name, row.address, row.type)
        for row in (await rows(asked)).values()
        if "[" not in row.type and ";field=" not in row.address
    ]

    settings = compiled("opc.tcp://192.0.2.1:4840", *plain)

    assert [column.name for column in settings.groups[0].plan.columns] == [row[0] for row in plain]


async def test_a_browse_begins_where_a_person_says(asked: OpcuaInspector) -> None:
    motor = {"Press/Drive/Motor/Rpm"}

    by_path = await rows(asked, "/Objects/3:Press/Drive")
    by_node = await rows(asked, "ns=3;s=Press.Drive")
    variable = await rows(asked, f"{NSU}Press.Temp")

    assert motor <= by_path.keys()
    assert {"Drive/Motor/Rpm"} <= by_node.keys()
    assert [(row.name, row.unit) for row in variable.values()] == [("Ol-Temperatur_C", "Cel")]
    assert (await rows(asked, "i=2253")).keys(), "the Server object, asked for by its node"


@pytest.mark.parametrize(
    ("under", "advice"),
    [
        ("/Objects/Presse", "has no 'Presse'; it has: 0:"),
        ("/Objects/2:Press", "has no '2:Press'"),
        ("ns=3;s=Nothing", "the server has no node"),
        ("nsu=urn:nobody;s=A", "no namespace 'urn:nobody'; it has: "),
        ("Press", "is not a node id"),
    ],
)
async def test_a_place_that_is_not_there_is_answered_by_what_is(
    asked: OpcuaInspector, under: str, advice: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(advice)):
        await rows(asked, under)


async def test_5000_variables_take_few_requests(compiled: Compile) -> None:
    """Seen to bite: with one node for each request it takes more than 10,000 messages."""
    messages = 0

    def count(data: bytes) -> bytes:
        nonlocal messages
        messages += 1
        return data

    with browsed(many=5_000) as behind:
        async with between(urlsplit(behind).port or 0, count) as endpoint:
            settings = compiled(endpoint, ANY, reply_timeout_ms=20_000)
            async with inspect(settings) as inspector:
                found = await rows(inspector, "/Objects/Hall")

    assert len(found) == 5_000
    assert found["Hall/F4900/V4999"].value == 4_999
    assert messages < 200


async def test_a_value_is_shown_with_all_that_is_known_of_it(asked: OpcuaInspector) -> None:
    [reading] = await asked.read("ns=3;s=Press.Temp", "")

    assert reading.value == 41.5
    assert reading.address == f"{NSU}Press.Temp"
    assert reading.source_type == "Double"
    assert reading.quality == 0
    assert reading.source_at_ns
    assert reading.reply_s > 0
    assert "also ns=3;s=Press.Temp; server time 20" in reading.note
    [wrong] = await asked.read("/Objects/Press/Motor/Rpm".replace("Motor", "Drive/Motor"), "Double")
    assert wrong.note.startswith("the value is a Int64, not a Double")


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("ns=3;s=Press.Speeds", [(";index=0", 1.0), (";index=1", 2.0), (";index=2", 3.0)]),
        ("ns=3;s=Press.Speeds;index=2", [(";index=2", 3.0)]),
        (
            "ns=3;s=Press.Recipe;field=Limits",
            [(";field=Limits/High", 9.0), (";field=Limits/Low", 1.0)],
        ),
        ("ns=3;s=Press.Recipe;field=Steps/1", [(";field=Steps/1", 2)]),
        ("ns=3;s=Press.Zones;index=1;field=High", [(";index=1;field=High", 4.0)]),
    ],
)
async def test_parts_of_a_value_are_read_by_the_address_that_names_them(
    asked: OpcuaInspector, address: str, parts: list[tuple[str, Any]]
) -> None:
    readings = await asked.read(address, "")

    stem = address.partition(";index")[0].partition(";field")[0].replace("ns=3;s=", NSU)
    assert [(each.address, each.value) for each in readings] == [
        (stem + suffix, value) for suffix, value in parts
    ]
    assert {each.source_type for each in readings} <= {"Double", "Int32"}


async def test_what_cannot_be_read_says_why(asked: OpcuaInspector) -> None:
    for address, status, advice in (
        ("ns=3;s=Nothing", "BadNodeIdUnknown", "`tailrace browse` shows what it has"),
        ("ns=3;s=Press", "BadAttributeIdInvalid", "the node is no variable"),
    ):
        [reading] = await asked.read(address, "")
        assert status_name(reading.quality) == status
        assert advice in reading.note
    with pytest.raises(ValueError, match=r"the value has: .*field=Limits/High"):
        await asked.read("ns=3;s=Press.Recipe;field=Limit", "")
    with pytest.raises(ValueError, match="carry their type"):
        await asked.guess("ns=3;s=Press.Temp")


class FewAtOnce:
    """A server that takes three operations in a request, and has one value that nobody parses."""

    def __init__(self) -> None:
        self.requests = 0

    async def read(self, parameters: ua.ReadParameters) -> list[ua.DataValue]:
        self.requests += 1
        if len(parameters.NodesToRead) > 3:
            raise ua.uaerrors.BadTooManyOperations
        numbers = [each.NodeId.Identifier for each in parameters.NodesToRead]
        if 5 in numbers:
            raise ValueError("no text")
        return [ua.DataValue(ua.Variant(number)) for number in numbers]


class KeepsBack:
    """A server that gives two references in an answer, and never comes to an end of node 9.

    It keeps the rest for one node at a time.
    """

    async def browse(self, parameters: ua.BrowseParameters) -> list[ua.BrowseResult]:
        results = [self._result(each.NodeId.Identifier, 0) for each in parameters.NodesToBrowse]
        for result in [each for each in results if each.ContinuationPoint][1:]:
            code = ua.StatusCodes.BadNoContinuationPoints
            result.StatusCode, result.ContinuationPoint = ua.StatusCode(code), None
        return results

    async def browse_next(self, parameters: ua.BrowseNextParameters) -> list[ua.BrowseResult]:
        if parameters.ReleaseContinuationPoints:
            return [ua.BrowseResult() for _ in parameters.ContinuationPoints]
        points = (each.decode().split(":") for each in parameters.ContinuationPoints)
        return [self._result(int(node), int(first)) for node, first in points]

    def _result(self, node: int, first: int) -> ua.BrowseResult:
        size = 20_000 if node == 9 else 2
        more = node == 9 or first + size < node
        return ua.BrowseResult(
            ContinuationPoint=f"{node}:{first + size}".encode() if more else None,
            References=[
                ua.ReferenceDescription(BrowseName=ua.QualifiedName(str(number)))
                for number in range(first, min(first + size, node) if node != 9 else first + size)
            ],
        )


def questions(services: object) -> Questions:
    return Questions(SimpleNamespace(uaclient=SimpleNamespace(session=services)))  # type: ignore[arg-type]


async def test_a_server_that_takes_few_operations_is_asked_in_parts() -> None:
    server = FewAtOnce()

    answers = await questions(server).values([ua.NodeId(n) for n in range(10)], AttributeIds.Value)

    assert answers == [0, 1, 2, 3, 4, None, 6, 7, 8, 9], "only the one that nobody parses is left"


async def test_references_that_a_server_keeps_back_are_asked_for_but_not_without_end() -> None:
    """Seen to bite: without ReleaseContinuationPoints=False, two of five are found."""
    found = await questions(KeepsBack()).children([ua.NodeId(n) for n in (5, 1, 9)])

    assert [each.BrowseName.Name for each in found[0]] == ["0", "1", "2", "3", "4"]
    assert len(found[1]) == 1
    assert len(found[2]) == REFERENCES_MAX


def test_names_are_legal_and_given_once() -> None:
    names = Names()
    written = [
        ("Press", "Öl·Druck [bar]"),
        ("press", "Ol_Druck_bar"),
        ("_hidden", "$", "a/b"),
        ("x" * 300,),
        ("x" * 300,),
        (),
    ]

    given = [names.of(levels) for levels in written]

    assert given[:3] == ["Press/Ol_Druck_bar", "press/Ol_Druck_bar-2", "hidden/node/a_b"]
    assert len({each.casefold() for each in given}) == len(given)
    for name in given:
        assert len(name) <= 256
        assert all(LEVEL.fullmatch(level) for level in name.split("/")), name


def test_units_are_known_by_their_code_and_else_shown_as_spelt() -> None:
    unece = "http://www.opcfoundation.org/UA/units/un/cefact"

    assert unit_of(unece, 4_408_652, "°C") == "Cel"
    assert unit_of(unece, 4_342_098, None) == "bar"
    assert unit_of(unece, -1, "Hub") == "Hub"
    assert unit_of("urn:acme", 4_408_652, "°X") == "°X", "the code of somebody else"
    assert unit_of("urn:acme", 1, "°C") == "Cel", "what everybody writes"
    assert unit_of(None, 2**62, None) == ""


def test_a_url_means_the_keys_of_a_device() -> None:
    def keys(url: str) -> dict[str, Any]:
        return keys_of_url(urlsplit(url))

    assert keys("opc.tcp://plc") == {"endpoint": "opc.tcp://plc:4840", "security": "none"}
    assert keys("opc.tcp://[::1]:4841/a/b?security=basic256sha256&reply_timeout_ms=500") == {
        "endpoint": "opc.tcp://[::1]:4841/a/b",
        "security": "basic256sha256",
        "reply_timeout_ms": 500,
    }
    for url, advice in (
        ("opc.tcp://me:secret@plc", "shell's history"),
        ("opc.tcp://plc?securty=none", "did you mean 'security'"),
        ("opc.tcp://", "names no host"),
    ):
        with pytest.raises(ValueError, match=advice):
            keys(url)
