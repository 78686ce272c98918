"""A server with all that a browse may meet: folders, arrays, structures, units, cycles, many."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from asyncua import Server, ua
from asyncua.common.structures104 import new_enum, new_struct, new_struct_field

URI = "http://acme.com/press"
FOLDER_OF = 100
"""Variables in one folder: asyncua's server takes time with the square of them."""


class BrowsedServer:
    """A press in a hall; `many` adds variables in folders of FOLDER_OF."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.endpoint = f"opc.tcp://127.0.0.1:{free.getsockname()[1]}"
        self.index = 0

    async def start(self, *, many: int = 0) -> None:
        """Serve until the process ends."""
        server = Server()
        await server.init()
        server.set_endpoint(self.endpoint)
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        await server.register_namespace("urn:other")
        self.index = await server.register_namespace(URI)
        await self._press(server)
        hall = await server.nodes.objects.add_object(self._id("Hall"), f"{self.index}:Hall")
        for first in range(0, many, FOLDER_OF):
            folder = await hall.add_folder(self._id(f"F{first}"), f"{self.index}:F{first}")
            for number in range(first, min(first + FOLDER_OF, many)):
                name = f"V{number}"
                await folder.add_variable(
                    self._id(name), f"{self.index}:{name}", number, ua.VariantType.Int32
                )
        await server.start()

    def _id(self, name: str) -> ua.NodeId:
        return ua.NodeId(name, self.index)

    async def _press(self, server: Server) -> None:
        index = self.index
        press = await server.nodes.objects.add_object(self._id("Press"), f"{index}:Press")
        temperature = await press.add_variable(
            self._id("Press.Temp"), f"{index}:Öl-Temperatur [°C]", 41.5
        )
        text = ua.LocalizedText("Oil temperature", "en")
        await temperature.write_attribute(
            ua.AttributeIds.Description,
            ua.DataValue(ua.Variant(text, ua.VariantType.LocalizedText)),
        )
        unit = ua.EUInformation(
            NamespaceUri="http://www.opcfoundation.org/UA/units/un/cefact",
            UnitId=4_408_652,
            DisplayName=ua.LocalizedText("°C"),
        )
        await temperature.add_property(
            ua.NodeId("Press.Temp.EU", index), "0:EngineeringUnits", unit
        )
        speeds = await press.add_variable(
            self._id("Press.Speeds"), f"{index}:Speeds", [1.0, 2.0, 3.0], ua.VariantType.Double
        )
        await speeds.add_variable(self._id("Press.Speeds[0]"), f"{index}:[0]", 1.0)
        await press.add_variable(
            self._id("Press.Started"), f"{index}:Started", datetime(2026, 1, 2, tzinfo=UTC)
        )
        secret = await press.add_variable(self._id("Press.Secret"), f"{index}:Secret", 1)
        await secret.write_attribute(
            ua.AttributeIds.AccessLevel, ua.DataValue(ua.Variant(2, ua.VariantType.Byte))
        )
        await self._own_types(server, press)
        # A way back up, and a second way down.
        drive = await press.add_object(self._id("Press.Drive"), f"{index}:Drive")
        motor = await drive.add_object(self._id("Press.Motor"), f"{index}:Motor")
        await motor.add_variable(self._id("Press.Motor.Rpm"), f"{index}:Rpm", 1_450)
        await motor.add_reference(press, ua.ObjectIds.Organizes)
        await server.nodes.objects.add_reference(speeds, ua.ObjectIds.Organizes)

    async def _own_types(self, server: Server, press: object) -> None:
        index = self.index
        mode = await new_enum(server, index, "Mode", ["Off", "On"])
        limits, _ = await new_struct(
            server,
            index,
            "Limits",
            [
                new_struct_field("High", ua.VariantType.Double),
                new_struct_field("Low", ua.VariantType.Double),
            ],
        )
        recipe, _ = await new_struct(
            server,
            index,
            "Recipe",
            [
                new_struct_field("Name", ua.VariantType.String),
                new_struct_field("Limits", limits),
                new_struct_field("Steps", ua.VariantType.Int32, array=True),
            ],
        )
        types = await server.load_data_type_definitions()
        # Known to this process for good, whence it is one of its own.
        value = types["Recipe"](Name="A", Limits=types["Limits"](High=9.0, Low=1.0), Steps=[1, 2])
        await press.add_variable(  # type: ignore[attr-defined]
            self._id("Press.Recipe"),
            f"{index}:Recipe",
            value,
            datatype=recipe.nodeid,
        )
        both = [types["Limits"](High=2.0, Low=1.0), types["Limits"](High=4.0, Low=3.0)]
        await press.add_variable(  # type: ignore[attr-defined]
            self._id("Press.Zones"), f"{index}:Zones", both, datatype=limits.nodeid
        )
        await press.add_variable(  # type: ignore[attr-defined]
            self._id("Press.Mode"),
            f"{index}:Mode",
            ua.Variant(1, ua.VariantType.Int32),
            datatype=mode.nodeid,
        )


@contextmanager
def browsed(many: int = 0) -> Iterator[str]:
    """Yield the endpoint of a server in a process of its own: asyncua keeps types for a process."""
    with subprocess.Popen(
        [sys.executable, __file__, str(many)], stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            yield child.stdout.readline().strip()
        finally:
            child.kill()


async def serve(many: int) -> None:
    """Print the endpoint, and serve until killed."""
    server = BrowsedServer()
    await server.start(many=many)
    print(server.endpoint, flush=True)  # noqa: T201 - what the test waits for
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
