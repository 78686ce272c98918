"""MQTT 5 brokers over TLS 1.3 on 127.0.0.1, as child processes, for the demo and the tests.

Both are a Child (`start()`, `stop()`, `kill()`, `port`, `log_file`, `with`). A broker keeps its
port over stop and start, so that a client finds it again. Neither keeps anything on disk.

    what is enforced                    EmbeddedBroker     MosquittoBroker
    to be installed                     with the demo      Debian's mosquitto
    TLS 1.3 negotiated with our client  yes                yes
    TLS 1.2 refused                     no                 yes
    client certificate required         NO                 yes
    topics a client may use             no                 with `acl`
    Receive Maximum announced           no                 yes (20 unless set)

EmbeddedBroker is iotcore: the Rust broker rumqttd in a wheel. Who can reach its port can publish
and subscribe, so it must never listen anywhere but on 127.0.0.1. A client that comes back without
clean start must have a name of its own; an empty one is refused.
"""

import getpass
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from demo.children import LOOPBACK, Child, ChildFailed, free_port
from demo.pki import Pki

PAYLOAD_BYTES_MAX = 256 * 1024
IN_FLIGHT_MAX = 500

_EMBEDDED_CONFIG = """\
id = 0

[router]
id = 0
max_connections = 100
max_outgoing_packet_count = 200
max_segment_size = 10485760
max_segment_count = 10

[v5.1]
name = "uns"
listen = "{host}:{port}"
next_connection_delay_ms = 1

[v5.1.tls]
capath = "{ca_file}"
certpath = "{cert_file}"
keypath = "{key_file}"

[v5.1.connections]
connection_timeout_ms = 5000
max_payload_size = {payload_bytes_max}
max_inflight_count = {in_flight_max}
dynamic_filters = true
"""

# rumqttd traces every packet as an ERROR record: its own logger is silenced, ours is not.
_EMBEDDED_PROGRAM = """\
import logging, sys
logging.basicConfig(level=logging.WARNING)
logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
from iotcore import IotCoreBroker
IotCoreBroker(config_path=sys.argv[1]).run_forever()
"""

_MOSQUITTO_CONFIG = """\
listener {port} {host}
cafile {ca_file}
certfile {cert_file}
keyfile {key_file}
tls_version tlsv1.3
require_certificate true
use_identity_as_username true
set_tcp_nodelay true
persistence false
user {user}
log_dest stderr
log_type error
log_type warning
log_type notice
"""


class EmbeddedBroker(Child):
    """The broker of `tailrace demo`: nothing to install, but it lets everybody in."""

    def __init__(self, folder: Path, pki: Pki, *, port: int | None = None) -> None:
        """Configure it in `folder`; a free port is chosen unless given. Starts nothing."""
        port = port or free_port()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        config_file = folder / "rumqttd.toml"
        config_file.write_text(
            _EMBEDDED_CONFIG.format(
                host=LOOPBACK,
                port=port,
                ca_file=pki.ca_file,
                cert_file=pki.server.cert_file,
                key_file=pki.server.key_file,
                payload_bytes_max=PAYLOAD_BYTES_MAX,
                in_flight_max=IN_FLIGHT_MAX,
            )
        )
        command = [sys.executable, "-c", _EMBEDDED_PROGRAM, str(config_file)]
        super().__init__("broker", command, folder / "broker.log", port=port)


class MosquittoBroker(Child):
    """Debian's mosquitto: TLS 1.3 only, client certificates required, topics limited by `acl`."""

    def __init__(
        self,
        folder: Path,
        pki: Pki,
        *,
        port: int | None = None,
        acl: str = "",
        settings: Sequence[str] = (),
    ) -> None:
        """Configure it in `folder`. Raises NotInstalled when there is no mosquitto.

        `acl` is the text of an ACL file; the user is the common name of the client's certificate.
        `settings` are further lines of mosquitto.conf, `max_packet_size 2000`.
        """
        port = port or free_port()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = _MOSQUITTO_CONFIG.format(
            host=LOOPBACK,
            port=port,
            ca_file=pki.ca_file,
            cert_file=pki.server.cert_file,
            key_file=pki.server.key_file,
            user=getpass.getuser(),
        )
        if acl:
            acl_file = folder / "acl"
            acl_file.write_text(acl)
            acl_file.chmod(0o600)
            text += f"acl_file {acl_file}\n"
        config_file = folder / "mosquitto.conf"
        config_file.write_text(text + "".join(f"{line}\n" for line in settings))
        command = [find_mosquitto(), "-c", str(config_file)]
        super().__init__("mosquitto", command, folder / "mosquitto.log", port=port)


class NotInstalled(ChildFailed):
    """A program that comes with no Python package is missing; the text says how to get it."""


def find_mosquitto() -> str:
    """Return the path of mosquitto, which Debian keeps outside of a user's PATH.

    Raises NotInstalled.
    """
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which("mosquitto", path=places)
    if found is None:
        raise NotInstalled("mosquitto is not installed; on Debian: apt-get install mosquitto")
    return found
