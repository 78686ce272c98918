"""Goal: a far side that comes and goes for years costs no file descriptors and no threads.

Method: the target connects again and again in this process, in each way that a connection can end.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from proxies import HttpProxy
from relay import Relay
from scripted_broker import ScriptedBroker, connack
from uplink_rig import Site, wait_until
from websocket_side import rejection

from common.errors import TargetUnavailable
from demo.children import free_port
from demo.pki import Authority, Pki
from uplink.config import load_target
from uplink.contract import Message
from uplink.targets.mqtt import MqttTarget

ROUNDS = 20


def last_words() -> Message:
    return Message("status", b"{}", retain=True)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    ("ending", "welcome"),
    [
        ("closed", lambda _: connack()),
        ("refused", lambda _: connack(0x86)),
        ("cut", lambda _: b"\x30\x00"),
        ("untrusted", lambda _: connack()),
        ("absent", lambda _: connack()),
        ("not upgraded", lambda _: connack()),
        ("not passed on", lambda _: connack()),
    ],
)
def test_reconnecting_leaves_nothing_behind(
    site: Site,
    pki: Pki,
    tmp_path: Path,
    ending: str,
    welcome: Callable[[int], bytes | None],
) -> None:
    ca_file = pki.ca_file
    if ending == "untrusted":
        ca_file = Authority("another CA").write_ca(tmp_path / "other.pem")
    more: dict[str, object] = {"transport": "websocket"} if ending == "not upgraded" else {}
    dress: Callable[[Any], Any] = rejection(403) if more else lambda connection: connection
    with (
        ScriptedBroker(pki, welcome=welcome, dress=dress) as broker,
        Relay(HttpProxy(broker.port, login=True)) as proxy,
    ):
        if ending == "not passed on":
            more = {"proxy": f"http://127.0.0.1:{proxy.port}"}
        port = free_port() if ending == "absent" else broker.port
        site.configure(port, ca_file=str(ca_file), **more)
        settings = load_target(site.config_dir, "uns", "g1")
        assert settings is not None
        target = MqttTarget(settings, last_words)

        def connect_once() -> bool:
            try:
                target.connect(lambda: None).close()
            except TargetUnavailable:
                return False
            return True

        assert connect_once() == (ending == "closed")
        threads = threading.active_count()
        before = open_files()
        for _ in range(ROUNDS):
            connect_once()
        wait_until(lambda: open_files() <= before + 2, f"files are closed: {before} at first")
        wait_until(lambda: threading.active_count() <= threads, "no thread is left")
