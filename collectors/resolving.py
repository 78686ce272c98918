"""Host names → addresses, in threads that nobody waits for when the process ends.

The event loop's own look-up runs in threads that Python joins at exit: a name server that does
not answer would hold a stopping process for as long as the resolver tries (16 s and more).
"""

import asyncio
import ipaddress
import socket
from concurrent.futures import Future
from threading import Thread

from common.errors import SourceUnavailable

RESOLVE_S = 5.0
"""One attempt waits this long for a name; the resolver's first retry falls into it."""

Outcome = list[str] | OSError | UnicodeError

_asked: dict[str, Future[Outcome]] = {}
"""Look-ups by name, at most one at a time for each: a dead name server does not pile up threads."""


async def resolved(host: str, timeout_s: float = RESOLVE_S) -> str:
    """Return one address of `host`, IPv4 before IPv6; an address is returned as it is.

    Raises SourceUnavailable when the name does not resolve in time. A look-up that takes longer
    goes on, and answers the next attempt. Cancellation takes effect at once.
    """
    if _is_address(host):
        return host
    answer = _asked.get(host)
    if answer is None:
        answer = _asked[host] = Future()
        Thread(
            target=_look_up, args=(host, answer), name=f"resolve-{host}"[:64], daemon=True
        ).start()
    try:
        async with asyncio.timeout(timeout_s):
            outcome = await asyncio.shield(asyncio.wrap_future(answer))
    except TimeoutError as error:
        raise _unresolved(host, f"no answer within {timeout_s:g} s") from error
    # The name is asked for anew at the next attempt: a device may move to another address.
    if _asked.get(host) is answer:
        del _asked[host]
    if not isinstance(outcome, list):
        raise _unresolved(host, str(outcome)) from outcome
    return outcome[0]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _look_up(host: str, answer: Future[Outcome]) -> None:
    # The outcome is always a result: a failure that nobody waits for any more is no news.
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        answer.set_result(error)
        return
    found.sort(key=lambda each: each[0] != socket.AF_INET)
    addresses = [str(each[4][0]) for each in found]
    answer.set_result(addresses or OSError("it has no address"))


def _unresolved(host: str, reason: str) -> SourceUnavailable:
    return SourceUnavailable(
        f"name {host!r} does not resolve ({reason}); check its spelling and the gateway's name "
        "server, or write an IP address"
    )
