"""Goal: a name becomes an address, or a sentence in bounded time, and never a thread to wait for.

Method: the real resolver of this machine, and one that does not answer until it is told to.
"""

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from collectors.resolving import resolved
from common.errors import SourceUnavailable


class DeadNameServer:
    """Answers nothing until released."""

    def __init__(self) -> None:
        self.asked = 0
        self.reached = threading.Event()
        self.release = threading.Event()

    def getaddrinfo(self, *_: object, **__: object) -> list[object]:
        self.asked += 1
        self.reached.set()
        self.release.wait(20)
        return [
            (socket.AF_INET6, 1, 6, "", ("2001:db8::7", 0, 0, 0)),
            (socket.AF_INET, 1, 6, "", ("192.0.2.7", 0)),
        ]


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> Iterator[DeadNameServer]:
    server = DeadNameServer()
    monkeypatch.setattr(socket, "getaddrinfo", server.getaddrinfo)
    yield server
    server.release.set()


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7"])
async def test_an_address_is_its_own_answer(address: str, dead: DeadNameServer) -> None:
    assert await resolved(address) == address
    assert dead.asked == 0, "no name server is needed for an address"


async def test_localhost_is_the_address_that_devices_listen_on() -> None:
    assert await resolved("localhost") == "127.0.0.1"


async def test_a_name_that_cannot_be_one_is_unavailable_in_words() -> None:
    with pytest.raises(SourceUnavailable, match=r"name 'no\.\.such' does not resolve .*; check"):
        await resolved("no..such")


async def test_a_dead_name_server_is_left_in_time_and_its_late_answer_taken(
    dead: DeadNameServer,
) -> None:
    for _ in range(3):
        with pytest.raises(SourceUnavailable, match=r"'late\.example' does not resolve"):
            await resolved("late.example", timeout_s=0.05)
    threads = [each for each in threading.enumerate() if each.name.startswith("resolve-late")]
    asked = dead.asked
    dead.release.set()

    assert await resolved("late.example") == "192.0.2.7", "IPv4 before IPv6"
    assert asked == 1, "one look-up at a time for a name"
    assert [each.daemon for each in threads] == [True], "Python does not wait for it at exit"


async def test_cancelling_takes_effect_at_once(dead: DeadNameServer) -> None:
    task = asyncio.create_task(resolved("cancelled.example"))
    await asyncio.to_thread(dead.reached.wait, 5)
    async with asyncio.timeout(2):
        task.cancel()
        await asyncio.wait([task])

    assert task.cancelled()
