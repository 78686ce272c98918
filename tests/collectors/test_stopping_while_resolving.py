"""Goal: a collector stops in time although a name server never answers.

Method: the real process of each protocol, started by a program in which looking up one name takes
20 s, as it does when a resolver tries two dead name servers twice.
"""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import collectors
from common.clock import monotonic_s

pytestmark = pytest.mark.process

ROOT = Path(collectors.__file__).parents[1]
STOP_S = 5.0
PROGRAM = """
import runpy, socket, sys, time
look_up, connect = socket.getaddrinfo, socket.socket.connect

def slow(host):
    if host == "slow.example":
        print("looking up", flush=True)
        time.sleep(20)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

def slow_look_up(host, *args, **keys):
    slow(host)
    return look_up(host, *args, **keys)

class SlowSocket(socket.socket):
    def connect(self, address):
        slow(address[0])
        return super().connect(address)

socket.getaddrinfo, socket.socket = slow_look_up, SlowSocket
sys.argv = ["collectors", *sys.argv[1:]]
runpy.run_module("collectors", run_name="__main__", alter_sys=True)
"""
DEVICES = {
    "modbus": ('host = "slow.example"', '{ name = "T", address = "coil:0" }'),
    "s7": ('host = "slow.example"', '{ name = "T", address = "DB1.DBX0.0" }'),
    "opcua": (
        'endpoint = "opc.tcp://slow.example:4840"\nsecurity = "none"',
        '{ name = "T", address = "i=2258", type = "DateTime" }',
    ),
}


@pytest.mark.parametrize("protocol", DEVICES)
def test_a_name_that_takes_long_to_look_up_does_not_delay_the_end(
    tmp_path: Path, protocol: str
) -> None:
    where, tag = DEVICES[protocol]
    (tmp_path / "config/ot").mkdir(parents=True)
    (tmp_path / "config/ot/plant.toml").write_text(
        '[gateway]\nid = "box"\nroot = "Acme/SiteA"\n'
        f'[devices.press]\nprotocol = "{protocol}"\n{where}\n'
        f"[devices.press.groups.all]\ntags = [{tag}]\n",
        encoding="utf-8",
    )
    (tmp_path / "run").mkdir(mode=0o700)
    places = [f"--{name}={tmp_path / name}" for name in ("config", "run", "data")]
    command = [sys.executable, "-c", PROGRAM, protocol, *places]

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("looking up"):
                    break
            began_s = monotonic_s()
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=40)
            took_s = monotonic_s() - began_s
        finally:
            process.kill()

    assert process.returncode == 0
    assert took_s < STOP_S, "supervisord would kill a process that takes 10 s"
