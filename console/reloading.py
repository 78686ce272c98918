"""`tailrace reload`: what a changed configuration concerns, and having exactly that started anew.

The normalizer is told nothing: it learns a plan with the first scan that was read under it, and
knows the one before for as long as a scan of it may still come (decision 0007). So a reload is
a restart of the collectors concerned. Each is told to stop by SIGTERM, hands over what it has read,
and is started again by supervisord: were the console killed in between, nothing would stay stopped.
"""

import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from common.clock import monotonic_s
from common.configured import (
    QUEUE_LIMITS_FILE,
    Configured,
    ConfiguredPart,
    gateway_part,
    read_configured,
)
from common.errors import TailraceError
from common.places import Places
from common.plant import QueueConfig, read_plant, read_queue_config
from common.records import Column, Plan, decode_plan
from console.rooms import command, environment
from console.run import supervisor_socket
from console.supervising import give_up, start, supervised, tell_to_stop

COMPILE_TIMEOUT_S = 60.0
RESTART_TIMEOUT_S = 60.0
"""A stop takes 5 s at the most, a start under 2 s on an idle machine; this one may be busy."""
LOOK_S = 0.1
NORMALIZER = "normalizer"
_FAILING = ("BACKOFF", "FATAL")

Tag = tuple[str, str, str]
"""Device, group, name."""


class CannotReload(TailraceError):
    """The new configuration could not be compiled; the text says why."""


class TagChange(msgspec.Struct, kw_only=True):
    """What a reload does to one tag."""

    device: str
    group: str
    name: str
    what: str
    """`came`, `went`, `changed`."""
    before: dict[str, Any] = {}
    """Of a changed tag: what it no longer is…"""
    after: dict[str, Any] = {}
    """…and what it is now, under the same keys."""


class ProcessChange(msgspec.Struct, kw_only=True):
    """One process that must be started anew, and why."""

    process: str
    reasons: list[str]
    tags: list[TagChange] = []
    outcome: str = ""
    """What became of it; empty while nothing was tried."""
    taken: bool = False


def changes_of(places: Places) -> list[ProcessChange]:
    """Return who runs under something else than the files say now. Raises CannotReload.

    The configuration must have been checked before.
    """
    programs = supervised(supervisor_socket(places.run_dir)) or {}
    found = [
        change
        for fresh in _compiled(places)
        if (change := compared(read_configured(places.run_dir, fresh.process), fresh))
    ]
    if _queue_changed(places):
        found.append(ProcessChange(process=NORMALIZER, reasons=["[queue] changed"]))
    found += _uplinks(places, programs)
    concerned = {each.process for each in found}
    for name, program in programs.items():
        if program["statename"] in _FAILING and name not in concerned:
            text = "it fails, perhaps for what is corrected now"
            found.append(ProcessChange(process=name, reasons=[text]))
    return found


def compared(before: Configured | None, fresh: Configured) -> ProcessChange | None:
    """Return what changed for one process, None when nothing did."""
    if before is None:
        if not fresh.parts:
            return None
        text = "not known what it was started with"
        return ProcessChange(process=fresh.process, reasons=[text])
    reasons: list[str] = []
    tags: list[TagChange] = []
    for name in sorted(before.parts.keys() | fresh.parts.keys()):
        old, new = before.parts.get(name), fresh.parts.get(name)
        if old is not None and new is not None and old.digest == new.digest:
            continue
        changed = tag_changes(_plans(old), _plans(new))
        tags += changed
        reasons.append(f"{name}: {_reason(old, new, changed)}")
    return ProcessChange(process=fresh.process, reasons=reasons, tags=tags) if reasons else None


def tag_changes(before: list[Plan], after: list[Plan]) -> list[TagChange]:
    """Return the tags that came, went and changed, by name."""
    old, new = _tags(before), _tags(after)
    found = []
    for tag in sorted(old.keys() | new.keys()):
        device, group, name = tag
        was, will = old.get(tag), new.get(tag)
        what = "came" if was is None else "went" if will is None else "changed"
        change = TagChange(device=device, group=group, name=name, what=what)
        if was is not None and will is not None:
            for key in Column.__struct_fields__:
                if (a := getattr(was, key)) != (b := getattr(will, key)):
                    change.before[key], change.after[key] = a, b
            if not change.after:
                continue
        found.append(change)
    return found


def restart(places: Places, changes: list[ProcessChange]) -> None:
    """Have the processes of the changes started anew, and note what became of each."""
    path = supervisor_socket(places.run_dir)
    programs = supervised(path) or {}
    waited: dict[str, tuple[ProcessChange, int]] = {}
    for change in changes:
        program = programs.get(change.process)
        if program is None:
            change.outcome = "supervisord does not run it: start `tailrace run` anew"
        elif program["statename"] in ("STOPPED", "STOPPING"):
            change.outcome = "was stopped by hand, and stays so: it takes the change when started"
            change.taken = True
        else:
            if program["statename"] in _FAILING:
                give_up(path, change.process)  # It would wait up to 85 s, and is started below.
            else:
                tell_to_stop(path, change.process)
            waited[change.process] = (change, program["pid"])
    deadline_s = monotonic_s() + RESTART_TIMEOUT_S
    while waited and monotonic_s() < deadline_s:
        time.sleep(LOOK_S)
        programs = supervised(path) or {}
        fresh = {each.process for each in changes_of(places)} if _any_back(waited, programs) else {}
        for name, (change, old_pid) in list(waited.items()):
            program = programs.get(name, {})
            if program.get("statename") in ("EXITED", "STOPPED", "FATAL"):
                start(path, name)  # It was failing, or its supervisord.conf does not restart it.
            elif _back(program, old_pid) and name not in fresh:
                change.outcome, change.taken = "started anew", True
                del waited[name]
    for change, _ in waited.values():
        text = f"did not come back within {RESTART_TIMEOUT_S:.0f} s"
        change.outcome = f"{text}: see its log, and tailrace status"


def _any_back(
    waited: dict[str, tuple[ProcessChange, int]], programs: dict[str, dict[str, Any]]
) -> bool:
    """Compiling is not done ten times a second: only when somebody may have taken the change."""
    return any(_back(programs.get(name, {}), old_pid) for name, (_, old_pid) in waited.items())


def _back(program: dict[str, Any], old_pid: int) -> bool:
    return program.get("statename") == "RUNNING" and program.get("pid") != old_pid


def _compiled(places: Places) -> list[Configured]:
    line = command("collectors", ["--configured", "--config", str(places.config_dir)])
    try:
        done = subprocess.run(
            line,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=COMPILE_TIMEOUT_S,
        )
        return msgspec.json.decode(done.stdout, type=list[Configured])
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise CannotReload(f"the configuration cannot be compiled: {last}") from error
    except (subprocess.TimeoutExpired, msgspec.MsgspecError) as error:
        raise CannotReload(f"the configuration cannot be compiled: {error}") from error


def _queue_changed(places: Places) -> bool:
    try:
        kept = (places.data_dir / QUEUE_LIMITS_FILE).read_bytes()
        before = msgspec.json.decode(kept, type=QueueConfig)
    except (OSError, msgspec.MsgspecError):
        return False  # The normalizer never ran here.
    return before != read_queue_config(places.config_dir, [])


def _uplinks(places: Places, programs: Iterable[str]) -> list[ProcessChange]:
    """Return the uplinks that speak in the name of another gateway."""
    plant = read_plant(places.config_dir, [])
    found = []
    for name in programs:
        before = read_configured(places.run_dir, name) if name.startswith("uplink-") else None
        if before and plant and before.parts.get("gateway") != gateway_part(plant.gateway):
            text = "[gateway] id or root changed"
            found.append(ProcessChange(process=name, reasons=[text]))
    return found


def _plans(part: ConfiguredPart | None) -> list[Plan]:
    try:
        return [decode_plan(each) for each in part.plans] if part else []
    except msgspec.DecodeError:
        return []  # Of another version: every tag came.


def _tags(plans: list[Plan]) -> dict[Tag, Column]:
    return {
        (plan.device, plan.group, column.name): column for plan in plans for column in plan.columns
    }


def _reason(old: ConfiguredPart | None, new: ConfiguredPart | None, tags: list[TagChange]) -> str:
    if old is None:
        return "new"
    if new is None:
        return "gone"
    before = {(each.device, each.group): each.period_ms for each in _plans(old)}
    after = {(each.device, each.group): each.period_ms for each in _plans(new)}
    periods = [
        f"{group} every {after[device, group]} ms instead of {before[device, group]} ms"
        for device, group in sorted(before.keys() & after.keys())
        if before[device, group] != after[device, group]
    ]
    counts = [
        f"{number} {'tag' if number == 1 else 'tags'} {what}"
        for what in ("came", "went", "changed")
        if (number := sum(each.what == what for each in tags))
    ]
    return ", ".join(counts + periods) or "its settings changed"


def runs(run_dir: Path) -> bool:
    """Return whether supervisord of this run folder answers."""
    return supervised(supervisor_socket(run_dir)) is not None
