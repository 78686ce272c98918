"""A reply's PDU → registers, bits or a refusal; anything that does not answer the read is refused.

The one place that all transports' replies go through. A device that answers with another function,
or with more or fewer values than were asked for, has never given a value.
"""

import struct

from collectors.modbus.framing import BIT_FUNCTIONS, READ_FUNCTIONS, REFUSED, Malformed, Query
from collectors.modbus.reading import Refused, Reply

_EXCEPTION_BYTES = 2
_SHOWN_BYTES = 16


def checked(pdu: bytes, query: Query) -> Reply:
    """Return `query.quantity` registers or bits, or the device's refusal. Raises Malformed."""
    if len(pdu) < _EXCEPTION_BYTES or pdu[0] & ~REFUSED not in READ_FUNCTIONS:
        raise Malformed(f"bytes {pdu[:_SHOWN_BYTES].hex(' ')}")
    function = pdu[0] & ~REFUSED
    if function != query.function:
        raise Malformed(f"function {function} when asked for function {query.function}")
    if pdu[0] & REFUSED:
        if len(pdu) != _EXCEPTION_BYTES:
            raise Malformed(f"bytes {pdu[:_SHOWN_BYTES].hex(' ')}")
        return Refused(pdu[1])
    data = pdu[2:]
    if len(data) != pdu[1]:
        raise Malformed(f"{len(data)} bytes of data that it counts as {pdu[1]}")
    if len(data) != query.data_bytes:
        raise Malformed(f"{len(data)} bytes of data when asked for {query.data_bytes}")
    if function in BIT_FUNCTIONS:
        return [bool(data[bit >> 3] >> (bit & 7) & 1) for bit in range(query.quantity)]
    return struct.unpack(f">{query.quantity}H", data)
