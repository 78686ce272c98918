"""Certificates, sites and subscribers for the tests of the uplink."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sparkplug_rig import Host
from uplink_rig import Certificates, Dial, Site, Subscriber

from demo.broker import MosquittoBroker
from demo.pki import Identity, Pki


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
    sys.stdout.write(site.log)  # Shown when the test has failed.
    assert "Traceback" not in site.log, site.log
    assert "Exception ignored" not in site.log, site.log


@pytest.fixture
def dial(site: Site) -> Dial:
    return Dial(site)


@pytest.fixture
def subscribe(pki: Pki, certificates: Certificates) -> Iterator[Callable[..., Subscriber]]:
    opened: list[Subscriber] = []

    def subscribe(port: int, identity: Identity | None = None) -> Subscriber:
        opened.append(Subscriber(port, pki, identity or certificates.lake, f"lake-{len(opened)}"))
        return opened[-1]

    yield subscribe
    for subscriber in opened:
        subscriber.close()


@pytest.fixture
def mosquitto(tmp_path: Path, pki: Pki) -> Iterator[MosquittoBroker]:
    with MosquittoBroker(tmp_path, pki, settings=["max_queued_messages 1000000"]) as broker:
        yield broker


@pytest.fixture
def listen(pki: Pki, certificates: Certificates) -> Iterator[Callable[[int], Host]]:
    """Sparkplug hosts; the test fails with the first rule that one of them saw broken."""
    opened: list[Host] = []

    def listen(port: int) -> Host:
        opened.append(Host(port, pki, certificates.lake, f"scada-{len(opened)}"))
        return opened[-1]

    yield listen
    for host in opened:
        host.close()
        host.check()
