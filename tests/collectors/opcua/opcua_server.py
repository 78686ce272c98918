"""A server of OPC UA that tests command; as a program, one in a process that can be frozen."""

import asyncio
import json
import socket
import sys
from pathlib import Path
from typing import Any

from asyncua import Server, ua
from asyncua.crypto.permission_rules import User, UserRole

URI = "http://acme.com/line1"
Values = dict[str, ua.Variant]


class OneUser:
    """Lets in `op` with the password `right`, and nobody else."""

    def get_user(
        self, _server: object, username: str | None, password: str | None, **_: object
    ) -> User | None:
        """Return who this is, None when nobody we know."""
        known = (username, password) == ("op", "right")
        return User(role=UserRole.User, name=username) if known else None


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Plc:
    """A server of OPC UA whose nodes a test writes; it may stop and start again on its port."""

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.endpoint = f"opc.tcp://127.0.0.1:{self.port}"
        self.server: Server | None = None
        self.identity: tuple[Path, Path] | None = None
        """Certificate and key; with them the server insists on encryption and a user."""
        self.nodes: dict[str, Any] = {}

    async def start(self, values: Values, *, namespaces_before: int = 0, uri: str = URI) -> None:
        """Serve `values` as nodes s=NAME under a URI; its index comes after some others."""
        self.server = Server(user_manager=OneUser() if self.identity else None)
        await self.server.init()
        self.server.set_endpoint(self.endpoint)
        if self.identity:
            await self.server.load_certificate(self.identity[0])
            await self.server.load_private_key(self.identity[1])
            self.server.set_identity_tokens([ua.UserNameIdentityToken])
            await self.server.set_application_uri("urn:plc")
        self.server.set_security_policy(
            [
                ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
                ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
            ]
            if self.identity
            else [ua.SecurityPolicyType.NoSecurity]
        )
        for number in range(namespaces_before):
            await self.server.register_namespace(f"urn:other:{number}")
        self.index = await self.server.register_namespace(uri)
        for name, value in values.items():
            await self.add(name, value)
        await self.server.start()

    async def add(self, name: str, value: ua.Variant, data_type: ua.NodeId | None = None) -> None:
        """Add one node."""
        assert self.server is not None
        node_id = ua.NodeId(name, self.index)
        folder = self.server.nodes.objects
        self.nodes[name] = await folder.add_variable(
            node_id, f"{self.index}:{name}", value, datatype=data_type
        )

    async def set(self, name: str, value: ua.DataValue | object) -> None:
        """Give a node a value, with status and time when it is a DataValue."""
        await self.nodes[name].write_value(value)

    async def stop(self) -> None:
        """Stop serving; a second call does nothing."""
        server, self.server = self.server, None
        if server:
            await server.stop()


async def serve(wanted: dict[str, Any]) -> None:
    """Print the endpoint, and serve T0, T1, … until killed; write each line of values of stdin."""
    plc = Plc(wanted.get("port"))
    names = [f"T{n}" for n in range(len(wanted["values"]))]
    values = map(double, wanted["values"])
    await plc.start(dict(zip(names, values, strict=True)), namespaces_before=wanted["shift"])
    print(plc.endpoint, flush=True)  # noqa: T201 - what the test waits for
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    while line := await lines.readline():
        for name, value in zip(names, json.loads(line), strict=True):
            await plc.set(name, double(value))
        print("written", flush=True)  # noqa: T201 - what the test waits for
    await asyncio.Event().wait()


def double(value: float) -> ua.Variant:
    """Return a Double."""
    return ua.Variant(value, ua.VariantType.Double)


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
