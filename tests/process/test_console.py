"""Goal: the `tailrace` command tells the truth about a real gateway, and keeps it running.

Method: `tailrace run` with supervisord and every process of the house, a simulated device, a
Modbus device that is away and a broker that is away; the other verbs look at it from outside.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.x509.oid import NameOID

from common.clock import monotonic_s, now_ns
from demo.pki import make_pki

pytestmark = pytest.mark.process

HOUSE = Path(__file__).resolve().parents[2]
PROGRAMS = {
    "collector-modbus",
    "collector-s7",
    "collector-opcua",
    "collector-s7plus",
    "collector-simulated",
    "normalizer",
    "uplink-uns",
}
PLANT = """
[gateway]
id = "sitea-line1"
root = "Acme/SiteA/Stamping/Line1"
ignore_warnings = ["OT-L08"]

[devices.press]
protocol = "simulated"
asset = "Press_Machine"
[devices.press.groups.process]
period_ms = 100
tags = [
    { name = "Strokes", address = "counter", unit = "1" },
    { name = "Temperature_C", address = "sine", unit = "Cel", scale = 20.0, offset = 60.0 },
]

[devices.meter]
protocol = "modbus"
host = "127.0.0.1"
port = PORT
[devices.meter.groups.power]
tags = [{ name = "Power_kW", address = "holding:0:FLOAT32", unit = "kW" }]
"""
CLOUD = """
[targets.uns]
kind = "mqtt"
host = "localhost"
port = PORT
ca_file = "pki/ca.pem"
cert_file = "pki/gateway.pem"
key_file = "pki/gateway.key"
"""


LOG_LINE = re.compile(r"(ts=)?\d{4}-\d\d-\d\d[T ]|Unlinking stale socket")
"""supervisord's lines and ours begin with the date, but for one that it prints at a restart."""


@dataclass
class Gateway:
    """A configured gateway, running or not."""

    folder: Path
    running: subprocess.Popen[bytes] | None = None

    @property
    def options(self) -> list[str]:
        """Return where it is, as every verb takes it."""
        return [f"--{name}={self.folder / name}" for name in ("config", "run", "data")]

    def tailrace(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one verb to its end."""
        line = [sys.executable, "-m", "console", *verb.split(), *self.options, *arguments]
        return subprocess.run(
            line, cwd=HOUSE, capture_output=True, text=True, timeout=60, check=False
        )

    def start(self) -> None:
        """Start `tailrace run`, its output in a file."""
        line = [sys.executable, "-m", "console", "run", *self.options]
        with (self.folder / "log").open("ab") as log:
            self.running = subprocess.Popen(line, cwd=HOUSE, stdout=log, stderr=log)

    def status(self) -> dict[str, Any]:
        """Return what `tailrace status --json` says."""
        told: dict[str, Any] = json.loads(self.tailrace("status", "--json").stdout)
        return told

    def process(self, name: str) -> dict[str, Any]:
        """Return the status of one process, an empty one when it is not known."""
        return next((each for each in self.status()["processes"] if each["name"] == name), {})

    def wait(self, promise: Callable[[], bool], within_s: float = 30.0) -> None:
        """Return once the promise holds; fail with the log when it does not in time."""
        deadline_s = monotonic_s() + within_s
        while not promise():
            assert monotonic_s() < deadline_s, (self.folder / "log").read_text()[-4000:]

    def all_run(self) -> bool:
        """Return whether every process says that it is at work."""
        states = {each["name"]: each["state"] for each in self.status()["processes"]}
        return states.keys() == PROGRAMS and set(states.values()) <= {"running", "idle", "waiting"}

    def stop(self) -> int:
        """End it as an operator or systemd does, and return its exit code."""
        assert self.running is not None
        self.running.send_signal(signal.SIGTERM)
        return self.running.wait(timeout=60)


@pytest.fixture
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Return a configured gateway that is not running yet, and leave nothing of it behind."""
    yield from a_gateway(tmp_path_factory.mktemp("g"))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Return a gateway with all its processes running; every test leaves it so."""
    for each in a_gateway(tmp_path_factory.mktemp("g")):
        each.start()
        each.wait(each.all_run)
        yield each


def a_gateway(folder: Path) -> Iterator[Gateway]:
    """Yield a configured gateway and end it afterwards."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # Bound and not listening: whoever connects is refused.
        port = str(held.getsockname()[1])
        for half in ("ot", "it/pki"):
            (folder / "config" / half).mkdir(parents=True)
        (folder / "config/ot/plant.toml").write_text(PLANT.replace("PORT", port))
        (folder / "config/it/cloud.toml").write_text(CLOUD.replace("PORT", port))
        make_pki(folder / "config/it/pki")
        conf = (HOUSE / "supervisord.conf").read_text()
        block = conf[conf.index("[program:collector-modbus]") : conf.index("\n; Siemens")]
        own = folder / "config/supervisord.conf"
        own.write_text(conf + "\n" + block.replace("modbus", "simulated"))
        made = Gateway(folder)
        yield made
        if made.running is not None and made.running.poll() is None:
            made.stop()


def test_check_names_what_was_checked(configured: Gateway) -> None:
    checked = configured.tailrace("check")

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "2 devices, 2 groups, 3 tags, 1 target" in checked.stdout
    assert "The queue keeps up to 8,192 MiB, then: drop-oldest" in checked.stdout


def test_check_shows_what_the_queue_will_keep_and_what_is_wrong_with_it(
    configured: Gateway,
) -> None:
    plant = configured.folder / "config/ot/plant.toml"
    table = '[queue]\ncapacity_mib = 512\nage_max_days = 30\nwhen_full = "thin"\n'
    plant.write_text(table + plant.read_text())

    right = configured.tailrace("check")
    told = json.loads(configured.tailrace("check", "--json").stdout)
    plant.write_text(plant.read_text().replace('"thin"', '"thinn"'))
    wrong = configured.tailrace("check")
    refused = configured.tailrace("run")

    assert right.returncode == 0
    assert "The queue keeps up to 512 MiB and 30 days, then: thin" in right.stdout
    assert told["queue"]["capacity_mib"] == 512
    assert wrong.returncode == 1
    assert "ot/plant.toml:4  queue.when_full" in wrong.stdout
    assert "'drop-oldest', 'stop-reading', 'thin', found 'thinn'" in wrong.stdout
    assert "Nothing was started." in refused.stderr


def test_check_shows_the_errors_of_both_halves_at_once(configured: Gateway) -> None:
    plant, cloud = (configured.folder / "config" / f for f in ("ot/plant.toml", "it/cloud.toml"))
    plant.write_text(plant.read_text().replace("period_ms = 100", "period_ms = 1"))
    cloud.write_text(cloud.read_text().replace('host = "localhost"', 'hots = "localhost"'))

    both = configured.tailrace("check")
    ot = json.loads(configured.tailrace("check", "--ot", "--json").stdout)
    it = json.loads(configured.tailrace("check", "--it", "--json").stdout)

    assert both.returncode == 1
    assert "ot/plant.toml:11  devices.press.groups.process.period_ms" in both.stdout
    assert "unknown key 'hots'" in both.stdout
    assert [each["where"] for each in ot["findings"]] == ["devices.press.groups.process.period_ms"]
    assert "targets.uns.hots" in [each["where"] for each in it["findings"]]
    assert not [each for each in it["findings"] if each["place"].startswith("ot/")]


def test_check_finds_targets_and_protocols_that_no_program_serves(configured: Gateway) -> None:
    cloud = configured.folder / "config/it/cloud.toml"
    cloud.write_text(cloud.read_text() + cloud.read_text().replace("targets.uns", "targets.erp"))
    (configured.folder / "config/supervisord.conf").unlink()

    found = json.loads(configured.tailrace("check", "--json").stdout)["findings"]

    assert {each["where"]: each["place"] for each in found} == {
        "devices.press.protocol": "ot/plant.toml:8",
        "targets.erp": "it/cloud.toml:10",
    }
    assert "copy the block [program:uplink-uns]" in found[-1]["message"]


def test_a_wrong_configuration_is_refused_before_anything_starts(configured: Gateway) -> None:
    plant = configured.folder / "config/ot/plant.toml"
    plant.write_text(plant.read_text().replace("simulated", "simulatd"))

    refused = configured.tailrace("run")

    assert refused.returncode == 1
    assert "simulatd" in refused.stderr
    assert "Nothing was started." in refused.stderr
    assert not (configured.folder / "run").exists()


def test_an_operators_file_that_opens_a_port_is_refused(configured: Gateway) -> None:
    own = configured.folder / "config/supervisord.conf"
    own.write_text(own.read_text() + "\n[inet_http_server]\nport = 127.0.0.1:0\n")

    checked = configured.tailrace("check", "--json")
    refused = configured.tailrace("run")

    assert checked.returncode == 1
    (finding,) = json.loads(checked.stdout)["findings"]
    assert (finding["place"], finding["where"]) == ("supervisord.conf", "[inet_http_server]")
    assert refused.returncode == 1
    assert "would listen on TCP" in refused.stderr
    assert "Nothing was started." in refused.stderr


def test_a_certificate_that_ends_soon_is_a_warning(configured: Gateway) -> None:
    begin, end = timedelta(days=-300), timedelta(days=10)
    replace_certificate(configured.folder / "config/it/pki", begin, end)

    checked = configured.tailrace("check")
    told = json.loads(configured.tailrace("check", "--json").stdout)

    assert checked.returncode == 0
    assert "warning: " in checked.stdout
    assert "expires on" in checked.stdout
    assert checked.stdout.splitlines()[-1].startswith("OK  2 devices"), "it is in order today"
    assert told["findings"] == []
    assert [each["where"] for each in told["warnings"]] == ["targets.uns.cert_file"]


def test_a_warning_about_ot_has_a_code_and_help_and_stops_only_a_strict_check(
    configured: Gateway,
) -> None:
    """Seen to bite: without `strict and report.warnings` the strict check is content."""
    plant = configured.folder / "config/ot/plant.toml"
    plant.write_text(plant.read_text().replace('unit = "Cel"', 'unit = "bar"'))

    checked = configured.tailrace("check", "--ot")
    strict = configured.tailrace("check", "--ot", "--strict")
    as_named_elsewhere = configured.tailrace("check", "--ot", "--deny-warnings", "--json")

    assert (checked.returncode, strict.returncode, as_named_elsewhere.returncode) == (0, 1, 1)
    assert "warning: the name ends in °C, and unit is bar [OT-L05]" in checked.stdout
    assert "    help: rename the tag, or correct unit;" in checked.stdout
    [told] = json.loads(as_named_elsewhere.stdout)["warnings"]
    assert told["code"] == "OT-L05"
    assert told["help"].startswith("rename the tag")


@pytest.mark.parametrize("wrong", ["expired", "not TOML", "no file"])
def test_a_mistake_in_it_is_told_loudly_and_every_value_is_collected(
    configured: Gateway, wrong: str
) -> None:
    """As after a power cut on an unattended site, whose certificate ran out meanwhile."""
    cloud = configured.folder / "config/it/cloud.toml"
    if wrong == "expired":
        day = timedelta(days=1)
        replace_certificate(cloud.parent / "pki", -9 * day, -day)
    elif wrong == "not TOML":
        cloud.write_text("[targets.uns")
    else:
        cloud.unlink()

    checked = configured.tailrace("check")
    configured.start()
    configured.wait(configured.all_run)
    told = configured.tailrace("tap", "strokes", "--limit", "2", "--json")

    assert checked.returncode == 1, "a person must act"
    assert len(told.stdout.splitlines()) == 2
    log = (configured.folder / "log").read_text()
    assert "Everything is started nevertheless" in log
    assert "it/cloud.toml" in log
    seen = configured.status()
    (uplink,) = seen["uplinks"]
    assert uplink["state"] == ("away" if wrong == "expired" else "refused")
    assert uplink["error"], "and why"
    assert seen["queue"]["depth"] > 0


def test_status_of_nothing_says_how_to_start_it(configured: Gateway) -> None:
    told = configured.tailrace("status")

    assert told.returncode == 3
    assert f"tailrace run --config {configured.folder}/config" in told.stderr


def test_a_verb_that_does_not_exist_is_answered_with_one_that_does(configured: Gateway) -> None:
    told = configured.tailrace("statsu")

    assert told.returncode == 2
    assert "Did you mean 'status'?" in told.stderr


def test_status_shows_processes_devices_queue_and_targets(gateway: Gateway) -> None:
    told = gateway.tailrace("status", "--json")
    seen = json.loads(told.stdout)
    devices = {each["name"]: each for each in seen["devices"]}

    assert told.returncode == 0, "an absent device or broker is no fault of the gateway"
    assert {each["name"] for each in seen["processes"]} == PROGRAMS
    assert devices["press"]["state"] == "good"
    assert devices["press"]["scans_per_s"] == pytest.approx(10, rel=0.5)
    assert devices["press"]["samples_per_s"] == pytest.approx(20, rel=0.5)
    assert devices["meter"]["state"] == "away"
    assert "meter" in devices["meter"]["error"]
    assert seen["queue"]["depth"] > 0
    assert seen["uplinks"][0]["state"] == "away"
    assert seen["uplinks"][0]["behind"] > 0


def test_status_for_people_names_everything(gateway: Gateway) -> None:
    told = gateway.tailrace("status").stdout

    for word in (*PROGRAMS, "press", "meter", "good", "away", "SCANS/S", "QUEUED RECORDS", "uns"):
        assert word in told
    assert "\x1b" not in told, "no colours where nobody sees them"


def test_tap_shows_values_while_the_broker_is_away(gateway: Gateway) -> None:
    told = gateway.tailrace("tap", "strokes", "--limit", "5", "--json")
    shown = [json.loads(line) for line in told.stdout.splitlines()]
    values = [each["value"] for each in shown]

    assert told.returncode == 0
    assert {each["topic"] for each in shown} == {"Acme/SiteA/Stamping/Line1/Press_Machine/Strokes"}
    assert values == list(range(values[0], values[0] + 5)), "every one, in order"
    assert {each["quality"] for each in shown} == {"Good"}


def test_the_queue_can_be_looked_into_while_the_gateway_works(gateway: Gateway) -> None:
    """Its ledger balances at every instant, to the sample."""
    stat = json.loads(gateway.tailrace("queue stat", "--json").stdout)
    peeked = gateway.tailrace("queue peek", "--tag", "strokes", "--count", "5", "--json").stdout
    verified = gateway.tailrace("queue verify")
    status = gateway.status()["queue"]

    total = stat["total"]
    assert total["unexplained"] == 0
    assert total["collected"] > 0
    assert (stat["when_full"], stat["normalizer_runs"]) == ("drop-oldest", True)
    assert stat["autonomy_h"] > 1
    assert [each["target"] for each in stat["targets"]] == ["uns"]
    values = [json.loads(each)["value"] for each in peeked.splitlines()]
    assert values == list(range(values[0], values[0] + 5)), "every one, in order"
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert status["when_full"] == "drop-oldest"
    assert status["autonomy_h"] > 1
    assert status["ledger"]["collected"] >= total["collected"]


def test_dropping_beside_a_running_gateway_is_refused_with_the_way_to_do_it(
    gateway: Gateway,
) -> None:
    """And that way works: supervisord understands the command as it is printed."""
    refused = gateway.tailrace("queue drop", "--all", "--yes")

    assert refused.returncode == 1
    stop, start = (line for line in refused.stderr.splitlines() if "supervisorctl" in line)
    assert run_line(stop) == "normalizer: stopped"
    dropped = json.loads(gateway.tailrace("queue drop", "--all", "--yes", "--json").stdout)
    assert run_line(start) == "normalizer: started"
    gateway.wait(gateway.all_run)
    assert dropped["samples"] > 0
    lost = gateway.status()["queue"]["ledger"]["lost"]
    assert lost == {"dropped-by-operator": dropped["samples"]}, "and nothing else, meanwhile"


def run_line(line: str) -> str:
    """Paste a line as it was shown into a shell, and return what it says."""
    return subprocess.run(
        ["/bin/sh", "-c", line], cwd=HOUSE, capture_output=True, text=True, timeout=60, check=False
    ).stdout.strip()


def test_nothing_listens_on_tcp_or_udp(gateway: Gateway) -> None:
    assert gateway.running is not None
    pids = [each["pid"] for each in gateway.status()["processes"]] + [gateway.running.pid]

    assert len(pids) == len(PROGRAMS) + 1
    assert [each for pid in pids for each in open_ports(pid)] == []


def test_a_listening_process_would_be_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)), socket.socket(type=socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))

        assert [kind for kind, _ in open_ports(os.getpid())] == ["tcp", "udp"]


def test_only_this_user_can_reach_the_gateway(gateway: Gateway) -> None:
    run_dir = gateway.folder / "run"

    assert run_dir.stat().st_mode & 0o777 == 0o700
    assert (run_dir / "supervisor.sock").stat().st_mode & 0o077 == 0
    assert (gateway.folder / "data").stat().st_mode & 0o777 == 0o700


def test_every_process_that_is_killed_comes_back(configured: Gateway) -> None:
    configured.start()
    configured.wait(configured.all_run)
    before = {each["name"]: each["pid"] for each in configured.status()["processes"]}
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)

    configured.wait(
        lambda: (
            configured.all_run()
            and not set(before.values())
            & {each["pid"] for each in configured.status()["processes"]}
        )
    )


def test_a_process_that_hangs_is_called_silent(configured: Gateway) -> None:
    configured.start()
    configured.wait(configured.all_run)
    pid = configured.process("normalizer")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        configured.wait(lambda: configured.process("normalizer")["state"] == "silent")

        assert configured.tailrace("status").returncode == 1
    finally:
        os.kill(pid, signal.SIGCONT)
    configured.wait(configured.all_run)


def test_a_file_broken_later_fails_visibly_and_heals_by_itself(configured: Gateway) -> None:
    configured.start()
    configured.wait(configured.all_run)
    plant = configured.folder / "config/ot/plant.toml"
    good = plant.read_text()
    plant.write_text(good.replace("period_ms = 100", "period_ms = 1"))
    os.kill(configured.process("collector-simulated")["pid"], signal.SIGKILL)

    configured.wait(lambda: configured.process("collector-simulated")["state"] == "failing")
    others = {each["name"]: each["state"] for each in configured.status()["processes"]}
    plant.write_text(good)

    assert others["normalizer"] == "running", "the rest goes on"
    configured.wait(configured.all_run)


def test_a_half_of_it_broken_later_never_ends_the_uplink(configured: Gateway) -> None:
    configured.start()
    configured.wait(configured.all_run)
    cloud = configured.folder / "config/it/cloud.toml"
    good = cloud.read_text()
    cloud.write_text(good.replace("port", "prot"))
    os.kill(configured.process("uplink-uns")["pid"], signal.SIGKILL)

    def error() -> str:
        return str([each["error"] for each in configured.status()["uplinks"]])

    configured.wait(lambda: "unknown key 'prot'" in error())
    configured.wait(lambda: configured.process("uplink-uns")["state"] == "waiting")
    pid = configured.process("uplink-uns")["pid"]
    cloud.write_text(good)
    configured.wait(lambda: "nothing listens there" in error())

    assert configured.process("uplink-uns")["pid"] == pid, "it took the correction up by itself"


def test_sigterm_ends_every_process_and_leaves_none_behind(configured: Gateway) -> None:
    configured.start()
    configured.wait(configured.all_run)
    pids = [each["pid"] for each in configured.status()["processes"]]

    code = configured.stop()

    assert code == 0
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert "SIGKILL" not in (configured.folder / "log").read_text(), "each stopped by itself"


def test_a_folder_in_the_way_is_not_imported(configured: Gateway) -> None:
    in_the_way = configured.folder / "collectors"
    in_the_way.mkdir()
    (in_the_way / "__init__.py").write_text("")
    (in_the_way / "__main__.py").write_text("raise SystemExit('the wrong one')")
    path = os.pathsep.join([str(HOUSE), os.environ.get("PYTHONPATH", "")])

    checked = subprocess.run(
        [sys.executable, "-P", "-m", "console", "check", *configured.options],
        cwd=configured.folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout


def test_a_log_file_opened_by_the_shell_keeps_every_line(configured: Gateway) -> None:
    """With `>`, the shell's own descriptor has an offset, and does not append."""
    line = [sys.executable, "-m", "console", "run", *configured.options]
    with (configured.folder / "log").open("wb") as log:
        configured.running = subprocess.Popen(line, cwd=HOUSE, stdout=log, stderr=log)
    configured.wait(configured.all_run)
    for _ in range(3):  # So that supervisord speaks between its children's lines.
        pid = configured.process("normalizer")["pid"]
        os.kill(pid, signal.SIGKILL)
        configured.wait(lambda pid=pid: configured.process("normalizer")["pid"] not in (None, pid))
        configured.wait(configured.all_run)
    configured.stop()

    text = (configured.folder / "log").read_text()
    odd = [each for each in text.splitlines() if not LOG_LINE.match(each)]
    assert odd == [], "no line is cut by another"
    assert text.count("INFO spawned: ") == len(PROGRAMS) + 3
    assert text.count("process=normalizer msg=started") == 4
    assert text.count("process=normalizer msg=stopped") == 1


def test_logs_reach_a_stdout_that_is_a_socket(configured: Gateway) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        line = [sys.executable, "-m", "console", "run", *configured.options]
        configured.running = subprocess.Popen(line, cwd=HOUSE, stdout=theirs, stderr=theirs)
        theirs.close()
        ours.settimeout(30)
        heard = b""
        while b"process=normalizer msg=started" not in heard:
            more = ours.recv(65536)
            assert more, heard.decode()
            heard += more
        pid = configured.running.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, children)):  # As systemd stops a service: every process.
            os.kill(each, signal.SIGTERM)
        while more := ours.recv(65536):
            heard += more

    assert b"process=normalizer msg=stopped" in heard, "the last words too"
    assert configured.running.wait(timeout=30) == 0


def replace_certificate(pki: Path, begin: timedelta, end: timedelta) -> None:
    """Replace the gateway's certificate by one of the same key, valid as told from now."""
    key = serialization.load_pem_private_key((pki / "gateway.key").read_bytes(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sitea-line1")])
    now = datetime.fromtimestamp(now_ns() / 1e9, UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.not_valid_before(now + begin).not_valid_after(now + end)
    made = builder.public_key(key.public_key()).serial_number(1).sign(key, hashes.SHA256())
    (pki / "gateway.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))


def open_ports(pid: int) -> list[tuple[str, str]]:
    """Return (kind, local address) of every socket of a process that others could reach.

    A TCP socket that listens, or a UDP socket that is bound and not connected to one peer.
    """
    inodes = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        target = str(each.readlink()) if each.is_symlink() else ""
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = []
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            local, remote, state, inode = fields[1], fields[2], fields[3], fields[9]
            unconnected = set(remote.replace(":", "")) == {"0"}
            reachable = state == "0A" if kind.startswith("tcp") else unconnected
            if inode in inodes and reachable:
                found.append((kind, local))
    return found
