"""The closed tables of targets and payload profiles. A process imports only what it runs."""

from importlib import import_module
from typing import Protocol

from uplink.contract import Target, Wording
from uplink.settings import PayloadConfig, TargetSettings
from uplink.surroundings import Identity, Surroundings


class BuildTarget(Protocol):
    """`build_target` of a target's module."""

    def __call__(self, settings: TargetSettings, surroundings: Surroundings) -> Target:
        """Return the far side. Touches no network."""
        ...


class BuildWording(Protocol):
    """`build_wording` of a payload profile's module."""

    def __call__(self, config: PayloadConfig, identity: Identity) -> Wording:
        """Return the profile for one gateway and one epoch of its queue."""
        ...


TARGETS = {"mqtt": "uplink.targets.mqtt"}
"""`kind` in cloud.toml → module with build_target."""

PAYLOADS = {"uns": "uplink.payloads.uns", "sparkplug": "uplink.payloads.sparkplug"}
"""`payload` in cloud.toml → module with build_wording."""

SESSIONS = {("mqtt", "sparkplug"): "uplink.targets.sparkplug"}
"""(kind, payload) → the target's module where a profile is spoken in sessions of its own."""
SESSION_KINDS = {payload: kind for kind, payload in SESSIONS}
"""Such a profile → the only kind of far side that speaks it."""


def target_builder_of(kind: str, payload: str = "") -> BuildTarget:
    """Return the kind's `build_target`, or that of a profile that has sessions there."""
    module = SESSIONS.get((kind, payload), TARGETS[kind])
    build_target: BuildTarget = import_module(module).build_target
    return build_target


def wording_builder_of(payload: str) -> BuildWording:
    """Return the profile's `build_wording`."""
    build_wording: BuildWording = import_module(PAYLOADS[payload]).build_wording
    return build_wording
