"""A server of OPC UA with every policy, mode and kind of user; and what stands in between."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from asyncua import Server, ua
from asyncua.crypto.permission_rules import User, UserRole
from cryptography.hazmat.primitives.serialization import Encoding
from issuing import SERVER_URI, Owner

ALL_POLICIES = [
    ua.SecurityPolicyType.NoSecurity,
    ua.SecurityPolicyType.Basic256Sha256_Sign,
    ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    ua.SecurityPolicyType.Aes128Sha256RsaOaep_Sign,
    ua.SecurityPolicyType.Aes128Sha256RsaOaep_SignAndEncrypt,
    ua.SecurityPolicyType.Aes256Sha256RsaPss_Sign,
    ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
]
ALL_TOKENS = [ua.AnonymousIdentityToken, ua.UserNameIdentityToken, ua.X509IdentityToken]


class Guests:
    """Who is let in: anybody without a name, `op` with `right`, the holder of one certificate."""

    def __init__(self) -> None:
        self.certificate: bytes | None = None
        self.seen: list[str] = []
        """How each session said who it is; passwords as they arrived."""

    def get_user(
        self,
        _server: object,
        username: str | None = None,
        password: str | None = None,
        certificate: Any = None,
    ) -> User | None:
        """Return who this is, None when nobody we know."""
        if username:
            self.seen.append(f"{username}:{password}")
            return (
                User(UserRole.User, username) if (username, password) == ("op", "right") else None
            )
        if self.certificate and certificate is not None:
            shown = certificate
            if not isinstance(shown, bytes):
                shown = shown.public_bytes(Encoding.DER)
            if shown == self.certificate:
                self.seen.append("certificate")
                return User(UserRole.User, "by certificate")
        self.seen.append("anonymous")
        return User(UserRole.User, "anonymous")


class SecuredServer:
    """One value, `A` = 4.5, behind all the security that asyncua's server knows."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.endpoint = f"opc.tcp://127.0.0.1:{self.port}"
        self.guests = Guests()
        self.policies = ALL_POLICIES
        self.tokens: list[type] = ALL_TOKENS
        self.uri = SERVER_URI
        self.trusts_client: Callable[[Any], None] = lambda _certificate: None
        """Raises the library's ServiceError to refuse the client's certificate."""
        self._server: Server | None = None

    async def start(self, owner: Owner, *, key_of: Owner | None = None) -> None:
        """Serve as the owner of a certificate; with `key_of` without being its owner."""
        server = Server(user_manager=self.guests)
        await server.init()
        server.set_endpoint(self.endpoint)
        await server.set_application_uri(self.uri)
        server.iserver.certificate = owner.certificate
        server.iserver.private_key = (key_of or owner).key
        server.iserver.certificate_chain = [each.certificate for each in owner.issuers]
        server.set_identity_tokens(self.tokens)
        server.set_security_policy(self.policies)

        async def validate(certificate: Any, _description: object) -> None:
            self.trusts_client(certificate)

        server.set_certificate_validator(validate)
        index = await server.register_namespace("urn:acme")
        await server.nodes.objects.add_variable(ua.NodeId("A", index), f"{index}:A", 4.5)
        await server.start()
        self._server = server

    def described(self) -> list[ua.EndpointDescription]:
        """Return the endpoints as the server describes them; a change is what it says then."""
        assert self._server is not None
        return list(self._server.iserver.endpoints)

    async def stop(self) -> None:
        """Stop serving; a second call does nothing."""
        server, self._server = self._server, None
        if server:
            await server.stop()


@asynccontextmanager
async def between(port: int, change: Callable[[bytes], bytes]) -> AsyncIterator[str]:
    """Yield the endpoint of a man in the middle, who changes what a server says in clear.

    He is given each whole message, of which the length must stay.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def pump(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, edit: Callable[[bytes], bytes]
    ) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(8)
                size = int.from_bytes(head[4:], "little")
                writer.write(edit(head + await reader.readexactly(size - 8)))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        inner, outer = await asyncio.open_connection("127.0.0.1", port)
        pumps = [
            asyncio.create_task(pump(reader, outer, bytes)),
            asyncio.create_task(pump(inner, writer, change)),
        ]
        with suppress(asyncio.CancelledError):
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for each in pumps:
            each.cancel()
        for stream in (writer, outer):
            stream.close()
        tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"opc.tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
