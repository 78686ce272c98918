"""OPC UA node ids, in the notation of OPC 10000-6, 5.3.1.10, and the types of their values.

    ns=2;s=Line1.Temp                 by namespace index; it may move when the server restarts
    nsu=http://acme.com/line1;s=Temp  by namespace URI, looked up at every connect: the stable form
    i=2258                            no namespace means index 0, the standard's own nodes

Identifiers: `i` number, `s` text, `g` GUID, `b` bytes in base64.
"""

import base64
import binascii
import re
import uuid
from typing import NamedTuple
from urllib.parse import unquote

from common.config import suggestion
from common.records import ValueType

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
}
"""Built-in types of OPC 10000-6, 5.1.2, and what leaves the house. DateTime leaves as ISO 8601."""

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
_EXAMPLES = "ns=2;s=Line1.Temp, ns=3;i=1001 or nsu=http://acme.com/line1;s=Line1.Temp"


class NodeAddress(NamedTuple):
    """One node of a server. `str()` is the canonical form."""

    namespace: int | str
    """An index, or the URI that the server's namespace array is searched for."""
    kind: str
    """`i`, `s`, `g` or `b`."""
    identifier: int | str | uuid.UUID | bytes
    value_type: ValueType

    def __str__(self) -> str:
        """Return the node id as OPC UA writes it; index 0 is left out."""
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


def parse_address(text: str, type_name: str) -> NodeAddress:
    """Return the node that `text` names. Raises ValueError that tells what to write instead."""
    found = _ADDRESS.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is not a node id; write it as {_EXAMPLES}{_hint(text)}")
    namespace: int | str = int(found["index"] or 0)
    if found["uri"]:
        namespace = unquote(found["uri"])
    elif int(namespace) > NAMESPACE_MAX:
        raise ValueError(f"namespace index {namespace} in {text!r}; the largest is {NAMESPACE_MAX}")
    kind, identifier = found["kind"], found["identifier"]
    return NodeAddress(namespace, kind, _identifier(kind, identifier, text), TYPES[type_name])


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
