"""A Modbus TCP device that answers at once: the bench must not measure its own simulator.

Every holding register read anew is another value, so that no sample is filtered as unchanged.
"""

import asyncio
import itertools
import struct

_count = itertools.count()
_REQUEST = struct.Struct(">HHHBBHH")


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            request = await reader.readexactly(_REQUEST.size)
            transaction, _, _, unit, function, start, count = _REQUEST.unpack(request)
            step = next(_count)
            floats = [float(step + start + i) for i in range(count // 2)]
            data = struct.pack(f">{count // 2}f", *floats)
            header = struct.pack(
                ">HHHBBB", transaction, 0, 3 + len(data), unit, function, len(data)
            )
            writer.write(header + data)
    except asyncio.IncompleteReadError:
        writer.close()


async def main() -> None:
    """Serve on a free port of 127.0.0.1 until ended; print `ready PORT`."""
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    print(f"ready {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
