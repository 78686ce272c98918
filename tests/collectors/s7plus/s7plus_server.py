"""An S7-1500 for tests: the library's emulator, with symbols, and with a record of every request.

The emulator of s7commplus 0.3.0 lists no symbols. Here it does: a program of data blocks whose
members the library's own parser understands. That proves our side against the library, not the
library against a PLC.
"""

import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from s7commplus import Server
from s7commplus.codec import encode_pvalue_typed
from s7commplus.protocol import DataType, FunctionCode, Ids, ProtocolVersion
from s7commplus.typeinfo import Softdatatype
from s7commplus.vlq import decode_uint32_vlq, encode_uint32_vlq, encode_uint64_vlq

from demo.pki import Authority, Identity

READS = {
    FunctionCode.INIT_SSL,  # begins TLS
    FunctionCode.CREATE_OBJECT,  # the session
    FunctionCode.DELETE_OBJECT,  # its end
    FunctionCode.GET_MULTI_VARIABLES,
    FunctionCode.GET_VAR_SUBSTREAMED,  # the protection level
    FunctionCode.EXPLORE,
}
"""What a collector may ask for, beside the session's version (SetMultiVariables)."""
TYPE_INFO = 0x9100_0000
STRUCT_INFO = 0x9200_0000
ITEM_ERROR = 0x8000_0000_0000_0001


@dataclass
class Variable:
    """One member of a block: its type, what it holds, and where the PLC put it."""

    kind: Softdatatype
    wire: DataType
    memory: bytes
    lid: int
    array: bool = False
    """True: sent as an array of `wire`, as a text is."""

    @property
    def sent(self) -> bytes:
        """The value as it goes over the wire."""
        if not self.array:
            return encode_pvalue_typed(self.wire, self.memory)
        size = 2 if self.wire == DataType.UINT else 1
        head = bytes([0x10, self.wire]) + encode_uint32_vlq(len(self.memory) // size)
        return head + self.memory


@dataclass
class Block:
    """A data block with optimised access."""

    name: str
    variables: dict[str, Variable] = field(default_factory=dict)
    zones: list[bytes] = field(default_factory=list)
    """Elements of an array of Real called `Zones`, with local id 200, bounds from 1."""
    modified: int = 1


class Plc(Server):
    """The emulator, in TLS; `blocks` is the program, and may be changed at any time."""

    def __init__(self, identity: Identity) -> None:
        super().__init__(protocol_version=ProtocolVersion.V2)
        self.identity = identity
        self.port = 0
        self.blocks: dict[int, Block] = {}
        self.asked: list[int] = []
        """Function code of every request, in order."""
        self.items: list[int] = []
        """Items of every GetMultiVariables."""
        self.written: list[str] = []
        """Every request that would have changed something. A test must find none."""
        self.refuse_above: int | None = None
        """A read of more items than this is refused as a whole; None: none is."""
        self.answering = threading.Event()
        self.answering.set()
        self.garbage: bytes | None = None
        """Sent, within TLS, in place of every answer to a read."""
        self.body: bytes | None = None
        """Sent behind the header that belongs to the request, in place of what was read."""
        self.explorable = True
        """False: an EXPLORE is refused."""

    def run(self, port: int = 0, *, use_tls: bool = True) -> None:
        """Listen on 127.0.0.1."""
        self.start(
            "127.0.0.1",
            port,
            use_tls=use_tls,
            tls_cert=str(self.identity.cert_file),
            tls_key=str(self.identity.key_file),
        )
        assert self._server_socket is not None
        self.port = self._server_socket.getsockname()[1]

    def _process_request(
        self,
        data: bytes,
        session_id: int,
        integrity_id_read: int = 0,
        integrity_id_write: int = 0,
    ) -> tuple[bytes | None, bool]:
        payload = data[4:]
        function = struct.unpack_from(">H", payload, 3)[0]
        self.asked.append(function)
        session_setup = function == FunctionCode.SET_MULTI_VARIABLES and (
            self._is_session_setup_write(payload[14:])
        )
        if function not in READS and not session_setup:
            self.written.append(f"function 0x{function:04X} {payload.hex()}")
        if function == FunctionCode.GET_MULTI_VARIABLES:
            self.answering.wait()
            if self.garbage is not None:
                return self.garbage, False
        return super()._process_request(data, session_id, integrity_id_read, integrity_id_write)

    def _handle_get_multi_variables(
        self,
        seq_num: int,
        session_id: int,  # noqa: ARG002 - the emulator's signature
        request_data: bytes,
    ) -> bytes:
        items = _items(request_data)
        self.items.append(len(items))
        head = self._build_response_header(FunctionCode.GET_MULTI_VARIABLES, seq_num)
        if self.body is not None:
            return head + self.body
        if self.refuse_above is not None and len(items) > self.refuse_above:
            return head + encode_uint64_vlq(0xA027_A600_0054_FFFC)
        values = [self._value(item) for item in items]
        body = encode_uint64_vlq(0)
        for number, value in enumerate(values, 1):
            if value is not None:
                body += encode_uint32_vlq(number) + value
        body += b"\0"
        for number, value in enumerate(values, 1):
            if value is None:
                body += encode_uint32_vlq(number) + encode_uint64_vlq(ITEM_ERROR)
        return head + body + b"\0"

    def _value(self, item: tuple[int, ...]) -> bytes | None:
        area, *lids = item
        number = area & 0xFFFF
        if lids[:1] == [Ids.LID_OMS_STB_CLASSIC_BLOB]:
            memory = self._read_item((number, lids[1], lids[2]))
            return None if memory is None else encode_pvalue_typed(DataType.BLOB, memory)
        block = self.blocks.get(number)
        if block is None or area & 0xFFFF_0000 != Ids.DB_ACCESS_AREA_BASE:
            return None
        if lids == [1]:
            return encode_pvalue_typed(DataType.RID, struct.pack(">I", TYPE_INFO | number))
        if lids[0] == 200 and len(lids) == 2 and lids[1] < len(block.zones):
            return encode_pvalue_typed(DataType.REAL, block.zones[lids[1]])
        for variable in block.variables.values():
            if lids == [variable.lid]:
                return variable.sent
        return None

    def _handle_explore(self, seq_num: int, session_id: int, request_data: bytes) -> bytes:
        explored = struct.unpack_from(">I", request_data)[0]
        if not self.explorable:
            explored = 0  # What no PLC has.
        head = self._build_response_header(FunctionCode.EXPLORE, seq_num) + b"\0"
        if explored == Ids.NATIVE_THE_PLC_PROGRAM_RID:
            found = b"".join(
                _object(
                    Ids.DB_ACCESS_AREA_BASE | number,
                    Ids.DB_CLASS_RID,
                    _attribute(Ids.OBJECT_VARIABLE_TYPE_NAME, DataType.WSTRING, _utf16(block.name)),
                )
                for number, block in self.blocks.items()
            )
        elif explored == Ids.OBJECT_OMS_TYPE_INFO_CONTAINER:
            infos = b"".join(_type_info(number, block) for number, block in self.blocks.items())
            found = _object(explored, Ids.CLASS_OMS_TYPE_INFO_CONTAINER, infos)
        elif (block := self.blocks.get(explored & 0xFFFF)) and explored & 0xFF00_0000 == TYPE_INFO:
            found = _object(explored, Ids.CLASS_TYPE_INFO, _modified(block))
        else:
            there_is_none = struct.pack(">I", explored) + request_data[4:]
            return super()._handle_explore(seq_num, session_id, there_is_none)
        return head + found + b"\0\0\0\0"

    @property
    def counted(self) -> Counter[str]:
        """How often each function was asked for, by its name."""
        return Counter(FunctionCode(function).name for function in self.asked)


def real(value: float, lid: int) -> Variable:
    """Return a Real."""
    return Variable(Softdatatype.REAL, DataType.REAL, struct.pack(">f", value), lid)


def integer(value: int, lid: int) -> Variable:
    """Return an Int."""
    return Variable(Softdatatype.INT, DataType.INT, struct.pack(">h", value), lid)


def identity(folder: Path, *hosts: str) -> tuple[Path, Identity]:
    """Return a new authority's certificate, and what it issued to a PLC that answers at `hosts`."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = Authority("Plant CA")
    ca_file = authority.write_ca(folder / "ca.pem")
    return ca_file, authority.server(folder, "plc", hosts=hosts or ("127.0.0.1",))


def _items(request: bytes) -> list[tuple[int, ...]]:
    """Return access area and local ids of every item of a GetMultiVariables."""
    offset = 4

    def number() -> int:
        nonlocal offset
        value, consumed = decode_uint32_vlq(request, offset)
        offset += consumed
        return value

    items = []
    count, _fields = number(), number()
    for _ in range(count):
        _crc, area, lids, _sub_area = number(), number(), number(), number()
        items.append((area, *(number() for _ in range(lids - 1))))
    return items


def _object(rid: int, class_id: int, content: bytes) -> bytes:
    head = b"\xa1" + struct.pack(">I", rid) + encode_uint32_vlq(class_id) + b"\0\0"
    return head + content + b"\xa2"


def _attribute(number: int, kind: DataType, memory: bytes) -> bytes:
    return b"\xa3" + encode_uint32_vlq(number) + encode_pvalue_typed(kind, memory)


def _modified(block: Block) -> bytes:
    number = Ids.VARIABLE_TYPE_STRUCT_MODIFICATION_TIME
    return _attribute(number, DataType.TIMESTAMP, struct.pack(">Q", block.modified))


def _type_info(number: int, block: Block) -> bytes:
    elements, names = b"", b""
    for name, variable in block.variables.items():
        elements += struct.pack("<II", variable.lid, 0) + bytes([variable.kind])
        elements += struct.pack(">HB", 8 << 12, 0) + struct.pack("<HH", 0, 0)
        names += _name(name)
    if block.zones:
        elements += struct.pack("<II", 200, 0) + bytes([Softdatatype.REAL])
        elements += struct.pack(">HB", 10 << 12, 0)
        elements += struct.pack("<HHIIiI", 0, 0, 0, 0, 1, len(block.zones))
        names += _name("Zones")
    content = _modified(block)
    content += b"\xab" + struct.pack(">H", 4 + len(elements)) + bytes(4) + elements + b"\0\0"
    content += b"\xac" + struct.pack(">H", len(names)) + names + b"\0\0"
    return _object(TYPE_INFO | number, Ids.CLASS_TYPE_INFO, content)


def _name(name: str) -> bytes:
    encoded = name.encode()
    return bytes([len(encoded)]) + encoded + b"\0"


def _utf16(text: str) -> bytes:
    return text.encode("utf-16-be")
