"""OPC UA node ids, in the notation of OPC 10000-6, 5.3.1.10, and the types of their values.

    ns=2;s=Line1.Temp                 by namespace index; it may move when the server restarts
    nsu=http://acme.com/line1;s=Temp  by namespace URI, looked up at every connect: the stable form
    i=2258                            no namespace means index 0, the standard's own nodes

Identifiers: `i` number, `s` text, `g` GUID, `b` bytes in base64. Behind the node id may stand what
is wanted of its value:

    ns=2;s=Speeds;index=3          one element, the only one sent; `index=0,2` of a matrix
    ns=2;s=Set;field=Limits/High   a member of a structure; the server sends it whole, once for all
    ns=2;s=Sets;index=3;field=High both

and the type may be an array, `Double[8]`, `Double[1..8]`, `Double[2,3]`: a column per element.
"""

import base64
import binascii
import itertools
import math
import re
import uuid
from typing import NamedTuple
from urllib.parse import unquote

from collectors.compiling import Resolved, ResolvedArray
from common.config import suggestion
from common.records import ValueType
from common.tagtable import TAGS_MAX

NAMESPACE_MAX = 65_535
NUMBER_MAX = 4_294_967_295
TEXT_MAX = 4_096
"""OPC 10000-3, 8.2.4: the longest text of a node id."""

TYPES = {
    "Boolean": ValueType.BOOL,
    "SByte": ValueType.INT64,
    "Int16": ValueType.INT64,
    "Int32": ValueType.INT64,
    "Int64": ValueType.INT64,
    "Enumeration": ValueType.INT64,
    "Byte": ValueType.UINT64,
    "UInt16": ValueType.UINT64,
    "UInt32": ValueType.UINT64,
    "UInt64": ValueType.UINT64,
    "Float": ValueType.FLOAT64,
    "Double": ValueType.FLOAT64,
    "String": ValueType.STRING,
    "LocalizedText": ValueType.STRING,
    "Guid": ValueType.STRING,
    "DateTime": ValueType.STRING,
    "ByteString": ValueType.BYTES,
    "XmlElement": ValueType.STRING,
    "NodeId": ValueType.STRING,
    "ExpandedNodeId": ValueType.STRING,
    "QualifiedName": ValueType.STRING,
    "StatusCode": ValueType.STRING,
}
"""Built-in types of OPC 10000-6, 5.1.2, and what leaves the house. DateTime leaves as ISO 8601,
a StatusCode as its name, an Enumeration as its number."""

_TYPE_NAMES = {name.lower(): name for name in TYPES} | {
    "bool": "Boolean",
    "float64": "Double",
    "bytes": "ByteString",
}
"""What people write, in any case; int64, uint64 and string are the standard's own names."""

_ADDRESS = re.compile(
    r"(?:ns\s*=\s*(?P<index>\d+)\s*;|nsu\s*=\s*(?P<uri>[^;]+?)\s*;)?\s*"
    r"(?P<kind>[isgb])\s*=(?P<identifier>.+)",
    re.DOTALL,
)
_SUFFIX = re.compile(r";\s*(?P<word>index|field)\s*=\s*(?P<value>[^;]*)$")
_INDEXES = re.compile(r"\d{1,9}(,\d{1,9})*")
_ARRAY_TYPE = re.compile(r"(?P<type>[^\[\]]*)\[(?P<sizes>[^\[\]]*)\]")
_DIMENSION = re.compile(r"(?:(?P<first>\d{1,9})\s*\.\.\s*)?(?P<last>\d{1,9})")
_EXAMPLES = "ns=2;s=Line1.Temp, ns=3;i=1001 or nsu=http://acme.com/line1;s=Line1.Temp"


class NodeAddress(NamedTuple):
    """One node of a server. `str()` is the canonical form."""

    namespace: int | str
    """An index, or the URI that the server's namespace array is searched for."""
    kind: str
    """`i`, `s`, `g` or `b`."""
    identifier: int | str | uuid.UUID | bytes
    value_type: ValueType
    index_range: str = ""
    """What the server is to send of an array, `3` or `0,2`; empty for the whole value."""
    path: tuple[int | str, ...] = ()
    """The way into the value that arrives: indexes of arrays, names of structures' members."""

    def __str__(self) -> str:
        """Return the node id, and what is wanted of its value."""
        own = list(itertools.takewhile(lambda step: isinstance(step, int), self.path))
        index = self.index_range or ",".join(map(str, own))
        field = "/".join(map(str, self.path if self.index_range else self.path[len(own) :]))
        return (
            self.node + (f";index={index}" if index else "") + (f";field={field}" if field else "")
        )

    @property
    def node(self) -> str:
        """The node id as OPC UA writes it; index 0 is left out."""
        text = (
            base64.b64encode(self.identifier).decode()
            if isinstance(self.identifier, bytes)
            else str(self.identifier)
        )
        if isinstance(self.namespace, str):
            uri = self.namespace.replace("%", "%25").replace(";", "%3B")
            return f"nsu={uri};{self.kind}={text}"
        return (f"ns={self.namespace};" if self.namespace else "") + f"{self.kind}={text}"


def type_named(text: str) -> str:
    """Return the standard's name of a type. Raises ValueError that tells what to write."""
    if not text:
        raise ValueError(
            "the 'type' column is empty; write the type of the node's value there, as the "
            f"server shows it: {', '.join(TYPES)}"
        )
    try:
        return _TYPE_NAMES[text.lower()]
    except KeyError:
        raise ValueError(f"unknown type {text!r}{suggestion(text, list(TYPES))}") from None


def resolve_tag(address: str, type_text: str) -> Resolved[NodeAddress] | ResolvedArray[NodeAddress]:
    """Return what a row of the tag table names. Raises ValueError that tells what to write."""
    array = _ARRAY_TYPE.fullmatch(type_text.strip())
    source_type = type_named(array["type"].strip() if array else type_text)
    parsed = parse_address(address, source_type)
    if not array:
        return _resolved(parsed, source_type)
    if parsed.index_range:
        raise ValueError(
            f"{address!r} names one element, but the type {type_text!r} an array; leave one out"
        )
    elements = []
    for names, indexes in zip(*_elements(array["sizes"], type_text), strict=True):
        element = parsed._replace(path=(*parsed.path, *indexes))
        elements.append((",".join(map(str, names)), _resolved(element, source_type)))
    return ResolvedArray(tuple(elements))


def _resolved(address: NodeAddress, source_type: str) -> Resolved[NodeAddress]:
    return Resolved(address, str(address), source_type, address.value_type)


def _elements(sizes: str, type_text: str) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Return each element's indexes as declared, and as OPC UA counts them, from 0."""
    declared: list[range] = []
    for each in sizes.split(","):
        found = _DIMENSION.fullmatch(each.strip())
        last = int(found["last"]) if found else -1
        first = int(found["first"]) if found and found["first"] else 0
        ends = last + 1 if found and found["first"] else last
        if ends <= first:
            raise ValueError(
                f"{type_text!r} is no array type; write Double[8], Double[1..8] or Double[2,3]"
            )
        declared.append(range(first, ends))
    count = math.prod(map(len, declared))
    if count > TAGS_MAX:
        raise ValueError(f"{type_text!r} has {count} elements; a group has at most {TAGS_MAX} tags")
    return (
        list(itertools.product(*declared)),
        list(itertools.product(*(range(len(each)) for each in declared))),
    )


def parse_address(text: str, type_name: str) -> NodeAddress:
    """Return the node that `text` names. Raises ValueError that tells what to write instead."""
    node, index_range, path = _wanted(text.strip())
    found = _ADDRESS.fullmatch(node)
    if not found:
        raise ValueError(f"{text!r} is not a node id; write it as {_EXAMPLES}{_hint(text)}")
    namespace: int | str = int(found["index"] or 0)
    if found["uri"]:
        namespace = unquote(found["uri"])
    elif int(namespace) > NAMESPACE_MAX:
        raise ValueError(f"namespace index {namespace} in {text!r}; the largest is {NAMESPACE_MAX}")
    kind, identifier = found["kind"], found["identifier"]
    value_type = TYPES[type_name]
    key = _identifier(kind, identifier, text)
    return NodeAddress(namespace, kind, key, value_type, index_range, path)


def _wanted(text: str) -> tuple[str, str, tuple[int | str, ...]]:
    """Cut an address into the node id, the index and the path behind it."""
    words: dict[str, str] = {}
    while (found := _SUFFIX.search(text)) and found["word"] not in words:
        words[found["word"]] = found["value"].strip()
        text = text[: found.start()]
    index, field = words.get("index", ""), words.get("field", "")
    index = ",".join(part.strip() for part in index.split(","))
    if "index" in words and not _INDEXES.fullmatch(index):
        raise ValueError(
            f"index={index}: one element is meant, index=3, or index=0,2 of a matrix; for several "
            "of them make the type an array, Double[8]"
        )
    steps = field.split("/")
    if "field" in words and not all(steps):
        raise ValueError(f"field={field}: write the member's name, and / before one within it")
    path = tuple(int(step) if step.isdecimal() else step for step in steps if step)
    return text, index, path


def _identifier(kind: str, written: str, text: str) -> int | str | uuid.UUID | bytes:
    if kind == "s":
        if len(written) > TEXT_MAX:
            raise ValueError(f"the text of a node id has at most {TEXT_MAX} characters")
        return written
    try:
        if kind == "g":
            return uuid.UUID(written.strip())
        if kind == "b":
            return base64.b64decode(written.strip(), validate=True)
    except (ValueError, binascii.Error):
        what = "a GUID such as 72962b91-fa75-4ae6-8d28-b404dc7daf63" if kind == "g" else "base64"
        raise ValueError(f"{text!r}: what follows {kind}= must be {what}") from None
    if not written.strip().isdecimal() or int(written) > NUMBER_MAX:
        raise ValueError(
            f"{text!r}: what follows i= must be a number of at most {NUMBER_MAX}; "
            "a name is written with s="
        )
    return int(written)


def _hint(text: str) -> str:
    if re.match(r"\s*nsu?\s*=", text) and ";" not in text:
        return "; in a CSV file with ';' as delimiter the address stands in double quotes"
    if re.match(r"\s*nsu?\s*=[^;]*;", text):
        return "; after the ';' comes i=, s=, g= or b= and the identifier"
    if "/" in text:
        return "; browse paths are not understood, the node's NodeId is shown by any OPC UA browser"
    return ""
