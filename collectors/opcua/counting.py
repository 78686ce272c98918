"""asyncua's connection with a meter in it: requests, bytes and reply times of one device."""

from typing import Any

from asyncua import ua
from asyncua.client.client import Client
from asyncua.client.ua_client import UASocketProtocol
from asyncua.common.utils import Buffer

from collectors.traffic import Traffic
from common.clock import monotonic_s


class _MeteredTransport:
    """An asyncio transport that counts what is sent."""

    def __init__(self, transport: Any, traffic: Traffic) -> None:
        self._transport, self._traffic = transport, traffic

    def write(self, data: bytes) -> None:
        """Send one message, which is one request: asyncua hands each over whole."""
        self._traffic.asked(len(data))
        self._transport.write(data)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


class MeteredProtocol(UASocketProtocol):
    """Counts every message of both directions; times what is answered at once."""

    traffic: Traffic

    def connection_made(self, transport: Any) -> None:
        """Take the connection."""
        super().connection_made(_MeteredTransport(transport, self.traffic))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Take what arrived, whatever it is."""
        self.traffic.received(len(data))
        super().data_received(data)

    async def send_request(
        self,
        request: Any,
        timeout: float | None = None,  # noqa: ASYNC109 - asyncua's signature
        message_type: ua.MessageType = ua.MessageType.SecureMessage,  # type: ignore[assignment]  # theirs
    ) -> Buffer:
        """Send and await the answer. A publish request (timeout 0) waits for news: not timed."""
        asked_s = monotonic_s()
        answer = await super().send_request(request, timeout, message_type)
        if timeout != 0:
            self.traffic.answered(monotonic_s() - asked_s)
        return answer


def metered(client: Client, traffic: Traffic) -> None:
    """Have the client count into `traffic`; to be called before it connects."""
    transport = client.uaclient

    def make_protocol() -> UASocketProtocol:
        # As UaClient does it, which has no other place to say which protocol to make.
        protocol = MeteredProtocol(transport._timeout, security_policy=transport.security_policy)  # noqa: SLF001 - see above
        protocol.traffic = traffic
        protocol.pre_request_hook = transport.pre_request_hook
        protocol.on_connection_lost = transport._on_transport_lost  # noqa: SLF001 - the same
        protocol.is_session_closing = transport._is_session_closing  # noqa: SLF001 - the same
        transport.protocol = protocol
        return protocol

    transport._make_protocol = make_protocol  # type: ignore[method-assign]  # noqa: SLF001 - the same
