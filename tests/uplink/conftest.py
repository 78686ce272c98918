"""Certificates, sites and subscribers for the tests of the uplink."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from uplink_rig import GATEWAY, Site, Subscriber

from demo.pki import Authority, Identity, Pki

OPEN = ("max_queued_messages 1000000", "max_inflight_messages 0")
"""A subscriber of mosquitto loses nothing because it is slow. Not 0 messages, which also means
without a limit: mosquitto 2.0.11 then hangs up after each publish that it denies."""


class Certificates:
    """One authority for all tests, and what it has issued."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority()
        self.pki = Pki(
            ca_file=self.authority.write_ca(folder / "ca.pem"),
            server=self.authority.server(folder),
            client=self.authority.client(folder, common_name=GATEWAY),
        )
        self.lake = self.authority.client(folder, "lake", common_name="lake")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def pki(certificates: Certificates) -> Pki:
    return certificates.pki


@pytest.fixture
def site(tmp_path: Path, pki: Pki) -> Iterator[Site]:
    site = Site(tmp_path, pki)
    yield site
    if site.process is not None and site.process.poll() is None:
        site.process.kill()
        site.process.wait()
    assert "Traceback" not in site.log, site.log
    assert "Exception ignored" not in site.log, site.log


@pytest.fixture
def subscribe(pki: Pki, certificates: Certificates) -> Iterator[Callable[..., Subscriber]]:
    opened: list[Subscriber] = []

    def subscribe(port: int, identity: Identity | None = None) -> Subscriber:
        opened.append(Subscriber(port, pki, identity or certificates.lake, f"lake-{len(opened)}"))
        return opened[-1]

    yield subscribe
    for subscriber in opened:
        subscriber.close()
