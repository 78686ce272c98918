"""What a configuration means and what would become of readings: asked of the rooms that know."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from common.errors import Finding, TailraceError
from common.places import Places
from common.plant import Tag, read_plant
from common.records import Column, Plan, decode_plan
from common.trials import Compiled, Outcomes, Questions, Rehearsals, Verdicts, Worded
from console.rooms import command, environment

TIMEOUT_S = 600.0
"""A process that needs longer is stuck, or was given more than anybody reads."""

Answer = TypeVar("Answer", bound=msgspec.Struct)


class RoomFailed(TailraceError):
    """A room did not answer; the text holds its last words."""


@dataclass(frozen=True)
class Tables:
    """The compiled tag tables of one configuration."""

    config_dir: Path
    plans: tuple[Plan, ...]
    findings: tuple[Finding, ...]
    by_topic: dict[str, tuple[Plan, int]] = field(default_factory=dict)

    def row_of(self, column: Column) -> Tag | None:
        """Return the row that a column comes from, None when it cannot be found again."""
        plant = read_plant(self.config_dir, [])
        tags = {
            tag.topic: tag
            for device in (plant.devices if plant else ())
            for group in device.groups
            for tag in group.tags
        }
        whole = column.topic.rpartition("/")[0]  # Of an element, or what is made of a counter.
        return tags.get(column.topic) or tags.get(whole)

    @property
    def devices(self) -> list[str]:
        """Names of the devices that could be compiled."""
        return list(dict.fromkeys(plan.device for plan in self.plans))

    def of_asset(self, device: str) -> dict[str, tuple[Plan, int]]:
        """Return where each column of a device's asset stands, by its tag's name.

        Other devices may give tags of the same asset; no two of them have one name.
        """
        assets = {_asset(plan) for plan in self.plans if plan.device == device}
        return {
            column.name: (plan, index)
            for plan in self.plans
            if _asset(plan) in assets
            for index, column in enumerate(plan.columns)
        }


def _asset(plan: Plan) -> str:
    first = plan.columns[0]
    return first.topic.removesuffix(first.name)


def tables_of(places: Places) -> Tables:
    """Return a configuration's tag tables as the collectors compile them. Raises RoomFailed."""
    line = ["--config", str(places.config_dir), "--data", str(places.data_dir)]
    compiled = ask("collectors.plans", line, b"", Compiled)
    plans = tuple(decode_plan(each) for each in compiled.plans)
    by_topic = {
        column.topic: (plan, index) for plan in plans for index, column in enumerate(plan.columns)
    }
    return Tables(places.config_dir, plans, tuple(compiled.findings), by_topic)


def rehearsed(asked: Rehearsals) -> Outcomes:
    """Return what the normalizer makes of runs of scans. Raises RoomFailed."""
    return ask("normalizer.trial", ["rehearse"], msgspec.json.encode(asked), Outcomes)


def judged(asked: Questions) -> Verdicts:
    """Return what the normalizer makes of single readings. Raises RoomFailed."""
    return ask("normalizer.trial", ["judge"], msgspec.json.encode(asked), Verdicts)


def worded(places: Places, sequence: int, index: int) -> Worded:
    """Return one sample of the queue as each target gets it. Raises RoomFailed."""
    folders = [f"--config={places.config_dir}", f"--data={places.data_dir}"]
    return ask("uplink.wording", [*folders, str(sequence), str(index)], b"", Worded)


def ask(
    room: str, line: list[str], told: bytes, kind: type[Answer], timeout_s: float = TIMEOUT_S
) -> Answer:
    """Return what a room's process answers to a document. Raises RoomFailed."""
    try:
        done = subprocess.run(
            command(room, line),
            env=environment(),
            input=told,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RoomFailed(f"python -m {room} gave no answer within {timeout_s:g} s") from error
    if done.returncode == 0:
        try:
            return msgspec.json.decode(done.stdout, type=kind)
        except msgspec.MsgspecError as error:
            raise RoomFailed(f"python -m {room} was not understood: {error}") from error
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2] or "it said nothing"
    text = f"python -m {room} failed, exit code {done.returncode}: {last}"
    raise RoomFailed(f"{text}; this is a bug, please report it")
