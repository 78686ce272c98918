"""Goal: every data type of the standard comes out as its column says, to the bit.

Method: the folders under cases/, each served by a real asyncua server, subscribed and polled.
"""

import asyncio
import re
import uuid
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.structures104 import new_enum, new_struct, new_struct_field
from opcua_server import Plc

from collectors.opcua.device import build_collector
from tests.collectors.case_folders import Case, as_text, cases, shown

FOLDER = Path(__file__).parent / "cases"
URI = "urn:case"


async def served(plc: Plc, device: dict[str, Any]) -> None:
    """Start a server that holds what device.toml says."""
    await plc.start({}, uri=URI)
    assert plc.server is not None
    structures: dict[str, Any] = {}
    for name, words in device.get("enumerations", {}).items():
        structures[name] = await new_enum(plc.server, plc.index, name, words)
    for name, structure in device.get("structures", {}).items():
        fields = [
            new_struct_field(field, _member_type(kind, structures), array=bool(array))
            for field, kind, *array in structure["members"]
        ]
        structures[name], _ = await new_struct(plc.server, plc.index, name, fields)
    known = set(ua.extension_objects_by_typeid)
    await plc.server.load_data_type_definitions()
    for encoding in set(ua.extension_objects_by_typeid) - known:
        # The server, in this process, taught asyncua's parser; it writes, but must not read.
        del ua.extension_objects_by_typeid[encoding]
    for name, node in device["nodes"].items():
        variant = _variant(node)
        kind = node["type"]
        data_type = structures[kind].nodeid if kind in structures else None
        await plc.add(name, variant, data_type)
        if "status" in node:
            status = ua.StatusCode(ua.UInt32(getattr(ua.StatusCodes, node["status"])))
            await plc.set(name, ua.DataValue(variant, StatusCode=status))


def _member_type(kind: str, known: dict[str, Any]) -> Any:
    if kind in known:
        return known[kind]
    if hasattr(ua.VariantType, kind):
        return getattr(ua.VariantType, kind)
    return ua.NodeId(getattr(ua.ObjectIds, kind))


def _variant(node: dict[str, Any]) -> ua.Variant:
    kind, value = node["type"], node["value"]
    array = isinstance(value, list)
    values = [_value(kind, each) for each in value] if array else _value(kind, value)
    variant_type = getattr(ua.VariantType, kind, ua.VariantType.ExtensionObject)
    if kind == "Enumeration":
        variant_type = ua.VariantType.Int32
    if "dimensions" in node:
        rows, columns = node["dimensions"]
        values = [values[n * columns : (n + 1) * columns] for n in range(rows)]
        return ua.Variant(values, variant_type, node["dimensions"])
    return ua.Variant(values, variant_type, is_array=array)


def _value(kind: str, written: Any) -> Any:
    makers: dict[str, Callable[[Any], Any]] = {
        "LocalizedText": ua.LocalizedText,
        "XmlElement": ua.XmlElement,
        "QualifiedName": ua.QualifiedName.from_string,
        "NodeId": ua.NodeId.from_string,
        "Guid": uuid.UUID,
        "StatusCode": lambda name: ua.StatusCode(ua.UInt32(getattr(ua.StatusCodes, name))),
        "ByteString": bytes.fromhex,
    }
    if kind in makers:
        return makers[kind](written)
    if isinstance(written, dict):
        return _structure(kind, written)
    return written


def _structure(kind: str, written: dict[str, Any]) -> Any:
    """Return a structure; a table within it is one of the type that its name, or member, has."""
    made = getattr(ua, kind)()
    for name, value in written.items():
        if isinstance(value, dict):
            setattr(made, name, _structure(name, value))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            setattr(made, name, [_structure("Limits", each) for each in value])
        elif name == "DisplayName":
            setattr(made, name, ua.LocalizedText(value))
        else:
            setattr(made, name, value)
    return made


@pytest.mark.parametrize("case", cases(FOLDER, failing=False), ids=str)
async def test_what_a_server_holds_comes_out_as_expected_subscribed_or_polled(
    plc: Plc, tmp_path: Path, case: Case
) -> None:
    """Seen to bite: without the types learnt, every member of a custom structure is Bad."""
    await served(plc, case.device)

    for mode in ("subscribe", "poll"):
        settings = case.settings(tmp_path, "opcua", endpoint=plc.endpoint, mode=mode)
        collector = build_collector(settings)
        found: dict[str, Any] = {}
        async with (
            asyncio.timeout(20),
            collector.connect() as session,
            aclosing(session.scans()) as scans,
        ):
            while found.keys() != case.expected.keys():
                found |= shown(collector.plans, await anext(scans))

        assert as_text(found) == as_text(case.expected), mode


@pytest.mark.parametrize("case", cases(FOLDER, failing=True), ids=str)
def test_what_cannot_be_is_said_by_the_check(tmp_path: Path, case: Case) -> None:
    with pytest.raises(ValueError, match=re.escape(case.errors[0])) as refused:
        case.settings(tmp_path, "opcua", endpoint="opc.tcp://127.0.0.1:4840")

    for part in case.errors:
        assert part in str(refused.value)
