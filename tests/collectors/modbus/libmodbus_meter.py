"""A Modbus server of libmodbus, the C library, in a process of its own; prints its port or 0.

    python libmodbus_meter.py LIBRARY tcp
    python libmodbus_meter.py LIBRARY rtu PATH

Holding register n holds 1000 + n, input register n 2000 + n; every third coil, and every second
discrete input, is on. Unit 1; registers 0 to 199. It ends at once, with an error, on any request
that is not a read.
"""

import ctypes
import socket
import sys

REGISTERS = 200
REQUEST_BYTES_MAX = 260
READS = (1, 2, 3, 4)


class Mapping(ctypes.Structure):
    """modbus_mapping_t of modbus.h, libmodbus 3.1."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("nb_bits", "start_bits")),
        *((name, ctypes.c_int) for name in ("nb_input_bits", "start_input_bits")),
        *((name, ctypes.c_int) for name in ("nb_input_registers", "start_input_registers")),
        *((name, ctypes.c_int) for name in ("nb_registers", "start_registers")),
        *((name, ctypes.POINTER(ctypes.c_uint8)) for name in ("tab_bits", "tab_input_bits")),
        ("tab_input_registers", ctypes.POINTER(ctypes.c_uint16)),
        ("tab_registers", ctypes.POINTER(ctypes.c_uint16)),
    )


def filled(library: ctypes.CDLL) -> ctypes.c_void_p:
    library.modbus_mapping_new.restype = ctypes.POINTER(Mapping)
    mapping = library.modbus_mapping_new(REGISTERS, REGISTERS, REGISTERS, REGISTERS)
    for number in range(REGISTERS):
        mapping.contents.tab_registers[number] = 1000 + number
        mapping.contents.tab_input_registers[number] = 2000 + number
        mapping.contents.tab_bits[number] = number % 3 == 0
        mapping.contents.tab_input_bits[number] = number % 2 == 0
    return ctypes.cast(mapping, ctypes.c_void_p)


def serve(library: ctypes.CDLL, transport: str, path: str) -> None:
    library.modbus_new_tcp.restype = library.modbus_new_rtu.restype = ctypes.c_void_p
    mapping = filled(library)
    head = 7
    if transport == "tcp":
        context = ctypes.c_void_p(library.modbus_new_tcp(b"127.0.0.1", 0))
        listening = socket.socket(fileno=library.modbus_tcp_listen(context, 1))
        print(listening.getsockname()[1], flush=True)  # noqa: T201 - the parent waits for it
        library.modbus_tcp_accept(context, ctypes.byref(ctypes.c_int(listening.fileno())))
    else:
        head = 1
        context = ctypes.c_void_p(
            library.modbus_new_rtu(path.encode(), 115_200, ctypes.c_char(b"N"), 8, 1)
        )
        library.modbus_set_slave(context, 1)
        assert library.modbus_connect(context) == 0
        print(0, flush=True)  # noqa: T201 - the same
    request = (ctypes.c_uint8 * REQUEST_BYTES_MAX)()
    while (length := library.modbus_receive(context, request)) >= 0:
        if length > 0:
            assert request[head] in READS, "a collector only reads"
            library.modbus_reply(context, request, length, mapping)


if __name__ == "__main__":
    serve(ctypes.CDLL(sys.argv[1]), sys.argv[2], *(sys.argv[3:] or [""]))
