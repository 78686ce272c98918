"""The closed tables of targets and payload profiles. A process imports only what it runs."""

from importlib import import_module
from typing import Protocol

from uplink.contract import Target, Wording
from uplink.payloads.backfill import BackfillWording
from uplink.payloads.cloudevents import CloudEventsWording
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


TARGETS = {"mqtt": "uplink.targets.mqtt", "kafka": "uplink.targets.kafka"}
"""`kind` in cloud.toml → module with build_target."""
LIBRARIES = {"kafka": "confluent_kafka"}
"""`kind` → the package of its library, where that is an extra of the same name as the kind."""

PAYLOADS = {
    "uns": "uplink.payloads.uns",
    "asset": "uplink.payloads.asset",
    "batch": "uplink.payloads.batch",
    "sparkplug": "uplink.payloads.sparkplug",
    "umh": "uplink.payloads.umh",
}
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


def wording_of(config: PayloadConfig, identity: Identity) -> Wording:
    """Return how records are worded for a target, with all that its keys say of it."""
    current = _profile(config.payload, config, identity)
    if config.backfill_payload in ("", config.payload):
        return current
    return BackfillWording(current, _profile(config.backfill_payload, config, identity))


def _profile(payload: str, config: PayloadConfig, identity: Identity) -> Wording:
    wording = wording_builder_of(payload)(config, identity)
    if config.cloud_events == "off":
        return wording
    return CloudEventsWording(wording, payload, identity)
