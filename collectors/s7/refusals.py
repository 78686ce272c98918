"""What a PLC says when it does not give something, in words that an engineer can act on. Pure.

Codes of an item stand in the reply, one for each; codes of the header are of the whole request.
Sources: the error tables of Snap7 (snap7_client.h), Wireshark's s7comm dissector; what an S7-1500
answers without PUT/GET: gijzelaerr/python-snap7#844 (0x8104); optimised blocks: #191 (0x05).
"""

from dataclasses import dataclass

from collectors.s7.address import COUNTED_AREAS
from common.records import Quality

HARDWARE = 0x01
DENIED = 0x03
OUT_OF_RANGE = 0x05
TYPE_NOT_SUPPORTED = 0x06
TYPE_INCONSISTENT = 0x07
NO_OBJECT = 0x0A
NOT_AVAILABLE = 0x8104

_ITEMS = {
    0x00: "reserved code",
    HARDWARE: "hardware fault",
    DENIED: "access denied",
    OUT_OF_RANGE: "address out of range",
    TYPE_NOT_SUPPORTED: "data type not supported",
    TYPE_INCONSISTENT: "data type inconsistent",
    NO_OBJECT: "object does not exist",
}
_CLASSES = {
    0x81: "application relationship",
    0x82: "object definition",
    0x83: "no resources available",
    0x84: "error on service processing",
    0x85: "error on supplies: the request or its reply is larger than the PDU",
    0x87: "access error",
}
_QUALITIES = {
    DENIED: Quality.BAD_USER_ACCESS_DENIED,
    OUT_OF_RANGE: Quality.BAD_OUT_OF_RANGE,
    NO_OBJECT: Quality.BAD_OUT_OF_RANGE,
    TYPE_NOT_SUPPORTED: Quality.BAD_TYPE_MISMATCH,
    TYPE_INCONSISTENT: Quality.BAD_TYPE_MISMATCH,
    NOT_AVAILABLE: Quality.BAD_NOT_READABLE,
}
_OPTIMISED = 'untick "Optimized block access" in the block\'s properties, compile and download'
_PUT_GET = (
    'tick "Permit access with PUT/GET communication from remote partner" in the CPU\'s properties '
    "(Protection & Security, Connection mechanisms) and download"
)


@dataclass(frozen=True)
class Refused:
    """The PLC answered, but does not give this memory."""

    code: int
    whole_request: bool = False
    """True for an error in the header, which is of all items together."""

    @property
    def quality(self) -> int:
        """What its tags are."""
        return _QUALITIES.get(self.code, Quality.BAD_DEVICE_FAILURE)

    @property
    def shown(self) -> str:
        """The code as the protocol has it: `item code 0x05`, `error 0x8104`."""
        return f"error 0x{self.code:04X}" if self.whole_request else f"item code 0x{self.code:02X}"

    def __str__(self) -> str:
        """Return the code and its meaning."""
        if not self.whole_request:
            return f"{_ITEMS.get(self.code, 'unknown')} ({self.shown})"
        if self.code == NOT_AVAILABLE:
            return f"function not available ({self.shown})"
        return f"{_CLASSES.get(self.code >> 8, 'unknown error class')} ({self.shown})"

    def advice(self, area: str, *, last_byte: int, readable: bool) -> str:
        """Return what a person should look at when tags up to `last_byte` of an area are refused.

        `readable` says that other tags of the area are given.
        """
        always = {
            NOT_AVAILABLE: f"the CPU does not permit PUT/GET: {_PUT_GET}",
            DENIED: f"{area} is protected: lower the CPU's access level, or {_PUT_GET}",
            TYPE_NOT_SUPPORTED: f"the PLC does not give {area} as bytes; has it such an area?",
            TYPE_INCONSISTENT: f"the PLC does not give {area} as bytes; has it such an area?",
        }
        if self.code in always:
            return always[self.code]
        size = f"{last_byte // 2} elements" if area in COUNTED_AREAS else f"{last_byte} bytes"
        if readable:
            return f"{area} is shorter than {size}; correct the addresses of these tags"
        if self.code not in (OUT_OF_RANGE, NO_OBJECT):
            return f"{area} cannot be read; look into the diagnostic buffer of the CPU"
        if not area.startswith("DB"):
            return f"the PLC has no area {area} of {size}, or does not permit PUT/GET"
        if self.code == OUT_OF_RANGE:
            return (
                f"{area} is shorter than {last_byte} bytes, or has optimised block access: "
                f"{_OPTIMISED}"
            )
        return (
            f"{area} is missing in the PLC, or has optimised block access: download the block, or "
            f"{_OPTIMISED}"
        )
