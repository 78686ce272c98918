"""Goal: files that are renewed on disk are taken up by themselves, whole, and only when they fit.

Method: the real process in front of mosquitto, its files replaced while it drains. Who connected is
in the broker's own log: it names the user by the common name of the certificate.
"""

import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from scripted_broker import ScriptedBroker
from uplink_rig import EDGE, OPEN, Certificates, Site, Subscriber, first_arrivals, wait_until

from console.status import look
from console.status_text import status_text
from demo.broker import MosquittoBroker
from demo.pki import Authority, Identity, Pki

pytestmark = pytest.mark.process

TAGS = 20
RECORDS = 100
Replace = Callable[[Path, bytes], None]


def write_over(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def move_into_place(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.chmod(0o600)
    fresh.rename(path)


class Own:
    """The files of one site, where a test may change them."""

    def __init__(self, site: Site, certificates: Certificates, folder: Path) -> None:
        self.folder = folder / "own"
        self.folder.mkdir()
        self.ca_file = self.folder / "ca.pem"
        self.cert_file = self.folder / "tls.crt"
        self.key_file = self.folder / "tls.key"
        self._site = site
        self._authority = certificates.authority
        shutil.copy(certificates.pki.ca_file, self.ca_file)
        self.put(certificates.pki.client)

    def put(self, identity: Identity, replace: Replace = write_over) -> None:
        replace(self.key_file, identity.key_file.read_bytes())
        replace(self.cert_file, identity.cert_file.read_bytes())
        self.key_file.chmod(0o600)

    def client(self, name: str) -> Identity:
        return self._authority.client(self.folder / name, common_name=name)

    def configure(self, port: int, **changes: object) -> None:
        files = {each: str(getattr(self, each)) for each in ("ca_file", "cert_file", "key_file")}
        self._site.configure(port, **{**files, **changes})


@pytest.fixture
def own(site: Site, certificates: Certificates, tmp_path: Path) -> Own:
    return Own(site, certificates, tmp_path)


def connections(broker: MosquittoBroker, user: str) -> int:
    return broker.log_file.read_text().count(f"u'{user}'")


@pytest.mark.parametrize("replace", [write_over, move_into_place])
def test_a_renewed_certificate_is_taken_up_under_load_and_nobody_notices(
    site: Site,
    own: Own,
    subscribe: Callable[..., Subscriber],
    pki: Pki,
    tmp_path: Path,
    replace: Replace,
) -> None:
    """Seen to bite: with a target that is never stale, the second user never connects."""
    with MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker:
        subscriber = subscribe(broker.port)
        own.configure(broker.port, drain="ordered")
        last = site.fill(RECORDS, TAGS)
        site.start()
        wait_until(subscriber.payloads, "it drains")
        own.put(own.client("renewed"), replace)

        def renewed() -> bool:
            nonlocal last
            last = site.fill(2, TAGS)  # There is always something in flight.
            return bool(connections(broker, "renewed"))

        wait_until(renewed, "the new certificate is used")
        wait_until(lambda: site.detail.get("acked_sequence") == last, "all of it is acknowledged")
        assert site.stop() == 0

    expected = [(sequence, index) for sequence in range(1, last + 1) for index in range(TAGS)]
    online = [payload["online"] for payload in subscriber.on(f"{EDGE}/status")]
    assert first_arrivals(subscriber.identities()) == expected, "nothing lost, in order"
    assert online.index(False) == len(online) - 1, "offline is only said at the very end"
    assert "broker is away" not in site.log
    assert site.log.count("files were renewed") == 1


def test_a_folder_swapped_by_its_link_is_taken_up(
    site: Site, own: Own, pki: Pki, tmp_path: Path
) -> None:
    """As cert-manager and Kubernetes do: ..data points to a folder, and then to another one."""
    mount = tmp_path / "mount"
    for name, identity in (("first", pki.client), ("second", own.client("second"))):
        (mount / name).mkdir(parents=True)
        shutil.copy(identity.cert_file, mount / name / "tls.crt")
        shutil.copy(identity.key_file, mount / name / "tls.key")
    (mount / "..data").symlink_to("first")
    for file in ("tls.crt", "tls.key"):
        (mount / file).symlink_to(Path("..data") / file)
    with MosquittoBroker(tmp_path / "broker", pki) as broker:
        files = {"cert_file": str(mount / "tls.crt"), "key_file": str(mount / "tls.key")}
        own.configure(broker.port, **files)
        site.fill(1)
        site.start()
        wait_until(lambda: site.detail.get("state") == "online", "it is connected")
        (mount / "..new").symlink_to("second")
        os.replace(mount / "..new", mount / "..data")  # noqa: PTH105 - of a link, not of its target
        wait_until(lambda: connections(broker, "second"), "the new folder is used")
        assert site.stop() == 0


def foreign_key(own: Own) -> None:
    own.key_file.write_bytes(own.client("stranger").key_file.read_bytes())


def half_a_certificate(own: Own) -> None:
    content = own.cert_file.read_bytes()
    own.cert_file.write_bytes(content[: len(content) // 2])


def half_the_authorities(own: Own) -> None:
    whole = own.ca_file.read_bytes()
    own.ca_file.write_bytes(whole + whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (foreign_key, "is not the key of"),
        (half_a_certificate, "ends in the middle of a certificate"),
        (half_the_authorities, "ends in the middle of a certificate"),
        (lambda own: own.key_file.unlink(), "No such file"),
        (lambda own: own.key_file.chmod(0o640), "chmod 600"),
    ],
)
def test_files_that_cannot_be_used_never_replace_those_that_can(
    site: Site,
    own: Own,
    pki: Pki,
    tmp_path: Path,
    spoil: Callable[[Own], None],
    says: str,
) -> None:
    """Not even when the broker restarts meanwhile; and the right ones are taken when they come.

    Seen to bite: with the files loaded anew for each connection, whatever they are, the uplink is
    refused after the restart.
    """
    with MosquittoBroker(tmp_path / "broker", pki) as broker:
        own.configure(broker.port)
        site.fill(5)
        site.start()
        wait_until(lambda: site.detail.get("state") == "online", "it is connected")
        spoil(own)
        wait_until(lambda: says in str(site.detail["warnings"]), "it says what is wrong")
        assert site.detail["state"] == "online", "and goes on"
        warned = status_text(look(site.run_dir, site.data_dir / "queue"))
        broker.stop()
        broker.start()
        last = site.fill(5)
        wait_until(lambda: site.detail.get("acked_sequence") == last, "the old ones still serve")
        shutil.copy(pki.ca_file, own.ca_file)
        own.put(own.client("mended"))
        wait_until(lambda: connections(broker, "mended"), "the mended ones are used")
        wait_until(lambda: not site.detail["warnings"], "there is nothing to warn of any more")
        assert site.stop() == 0

    assert any("serve on" in line for line in warned), "tailrace status shows it"
    assert site.log.count("act in time") == 1


def test_files_that_the_broker_refuses_give_way_to_those_it_accepted(
    site: Site, own: Own, pki: Pki, tmp_path: Path
) -> None:
    """Whole, fitting, and signed by the wrong authority: only the broker can tell.

    Seen to bite: without the way back, the uplink stays refused.
    """
    stranger = Authority("another CA").client(tmp_path / "stranger", common_name="stranger")
    with MosquittoBroker(tmp_path / "broker", pki) as broker:
        own.configure(broker.port)
        site.fill(5)
        site.start()
        wait_until(lambda: site.detail.get("state") == "online", "it is connected")
        own.put(stranger)
        wait_until(lambda: "were refused" in str(site.detail["warnings"]), "it says so")
        last = site.fill(5)
        wait_until(lambda: site.detail.get("acked_sequence") == last, "the old ones serve again")
        (warning,) = site.detail["warnings"]
        own.put(own.client("mended"))
        wait_until(lambda: connections(broker, "mended"), "the mended ones are used")
        wait_until(lambda: not site.detail["warnings"], "there is nothing to warn of any more")
        assert site.stop() == 0

    assert "does not know the authority that signed our certificate" in warning
    assert warning.endswith("the ones loaded before serve on")
    assert site.log.count("files were renewed") == 2


def test_one_authority_is_replaced_by_another_without_an_outage(
    site: Site, own: Own, pki: Pki, tmp_path: Path
) -> None:
    """Both are trusted while the broker changes from the one to the other."""
    second = Authority("second CA")
    second_ca = second.write_ca(tmp_path / "second.pem")
    both = own.ca_file.read_bytes() + second_ca.read_bytes()
    changed = Pki(pki.ca_file, second.server(tmp_path / "server2"), pki.client)
    with MosquittoBroker(tmp_path / "broker", pki) as broker:
        own.configure(broker.port)
        site.fill(5)
        site.start()
        wait_until(lambda: site.detail.get("state") == "online", "it is connected")
        own.ca_file.write_bytes(both)
        wait_until(lambda: site.log.count("files were renewed") == 1, "both are trusted")
        wait_until(lambda: site.detail.get("state") == "online", "it is connected again")
        port = broker.port
    with MosquittoBroker(tmp_path / "broker2", changed, port=port):
        last = site.fill(5)
        wait_until(lambda: site.detail.get("acked_sequence") == last, "the second is trusted")
        own.ca_file.write_bytes(second_ca.read_bytes())
        wait_until(lambda: site.log.count("files were renewed") == 2, "the first is forgotten")
        last = site.fill(5)
        wait_until(lambda: site.detail.get("acked_sequence") == last, "it still drains")
        assert site.stop() == 0

    assert "refused" not in site.log


def test_an_expired_certificate_that_is_renewed_ends_the_refusal(
    site: Site, own: Own, certificates: Certificates, pki: Pki, tmp_path: Path
) -> None:
    own.put(certificates.authority.expired(tmp_path / "expired"))
    with MosquittoBroker(tmp_path / "broker", pki) as broker:
        own.configure(broker.port)
        last = site.fill(5)
        site.start()
        wait_until(lambda: site.detail.get("state") == "refused", "the broker refuses it")
        wait_until(lambda: "expired on" in str(site.detail["warnings"]), "it is foreseen")
        own.put(own.client("renewed"))
        wait_until(lambda: site.detail.get("acked_sequence") == last, "the new one is used")
        assert site.stop() == 0

    assert "our certificate (cert_file) has expired; renew it" in site.log


def test_a_renewed_password_is_taken_up(site: Site, pki: Pki, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("first-secret\n")
    secret.chmod(0o600)
    with ScriptedBroker(pki) as broker:
        site.configure(broker.port, user="gateway", password_file=str(secret))
        site.fill(1)
        site.start()
        wait_until(lambda: site.detail.get("state") == "online", "it is connected")
        secret.write_text("second-secret\n")
        wait_until(lambda: len(broker.connects) == 2, "it connects anew")
        assert site.stop() == 0

    first, second = broker.connects
    assert first.endswith(b"first-secret")
    assert second.endswith(b"second-secret")
    assert broker.goodbyes == 2, "each connection was left in order"


def test_a_certificate_that_ends_soon_is_told_to_everybody(
    site: Site, subscribe: Callable[..., Subscriber], certificates: Certificates, tmp_path: Path
) -> None:
    """Seen to bite: without the peer's validity, only one of the two is named."""
    left, authority = timedelta(hours=12), certificates.authority
    client, server = (authority.ending(tmp_path / each, each, left) for each in ("c", "s"))
    pki = Pki(certificates.pki.ca_file, server, client)
    with MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker:
        subscriber = subscribe(broker.port)
        site.configure(broker.port, cert_file=str(client.cert_file), key_file=str(client.key_file))
        site.fill(1)
        site.start()
        wait_until(lambda: len(site.detail.get("warnings", ())) == 2, "both are told in health")
        wait_until(
            lambda: "warnings" in (subscriber.on(f"{EDGE}/status") or [{}])[-1],
            "they are told in the retained status",
        )
        told = subscriber.on(f"{EDGE}/status")[-1]
        shown = "\n".join(status_text(look(site.run_dir, site.data_dir / "queue")))
        assert site.stop() == 0

    ours, theirs = told["warnings"]
    assert ours.startswith(f"our certificate {client.cert_file} expires on ")
    assert theirs.startswith("the broker's certificate expires on ")
    assert ours in shown
    assert theirs in shown
    assert site.log.count("act in time") == 2, "each is logged once"
    assert told["certificate_expires_ms"] > told["timestamp_ms"]
