"""`tailrace verify`: stand where a consumer stands, and hold what arrives against the ledger."""

import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from common.clock import monotonic_s
from common.config import CLOUD_FILE, PLANT_FILE, Document, read_document, table_at
from common.errors import ConfigError, Finding, TailraceError
from console.verify_text import Verification
from subscribers.arrivals import Arrivals
from subscribers.listening import Address, BrokerUnavailable, Subscription
from subscribers.reading import Reading
from subscribers.reconciling import Reconciliation

MQTTS_PORT = 8883
WAIT_S = 0.2
LOOK_S = 1.0

T = TypeVar("T", bound=msgspec.Struct)


class WrongAddress(TailraceError):
    """What was given does not say where the broker is."""


class _Plant(msgspec.Struct):
    """Of [gateway] what is needed."""

    id: str
    root: str


class _Cloud(msgspec.Struct):
    """Of [targets.NAME] what a consumer can use as well."""

    host: str
    kind: str = "mqtt"
    port: int = MQTTS_PORT
    ca_file: str = ""
    server_name: str = ""


def address_of(url: str) -> Address:
    """Return where `mqtts://host:port` is. Raises WrongAddress."""
    try:
        parts = urlsplit(url)
        port = parts.port or MQTTS_PORT
    except ValueError as error:
        raise WrongAddress(f"{url!r}: {error}") from error
    if parts.scheme != "mqtts" or not parts.hostname or parts.path not in ("", "/"):
        raise WrongAddress(f"{url!r} is no mqtts://host:port; only TLS is spoken")
    return Address(parts.hostname, port)


def target_address(config_dir: Path, target: str) -> Address:
    """Return where a target of it/cloud.toml is, with its CA. Raises ConfigError, WrongAddress."""
    document, found = _table(config_dir, CLOUD_FILE, "targets")
    table = found.get(target)
    if table is None:
        known = ", ".join(found) or "none"
        raise WrongAddress(f"no target {target!r} in {CLOUD_FILE}; known there: {known}")
    cloud = _converted(document, f"targets.{target}", table, _Cloud)
    if cloud.kind != "mqtt":
        raise WrongAddress(f"targets.{target} is of kind {cloud.kind!r}, and no MQTT broker")
    folder = (config_dir / CLOUD_FILE).parent
    ca_file = folder / cloud.ca_file if cloud.ca_file else None
    return Address(cloud.host, cloud.port, ca_file=ca_file, server_name=cloud.server_name)


def topics_of(config_dir: Path, root: str | None) -> list[tuple[str, bool]]:
    """Return the filters to subscribe to: the data, and what gateways say of themselves.

    Each with whether retained messages shall come at first: of statuses, not of values, which
    would look like old sequences. Without a root, those of this gateway. Raises ConfigError.
    """
    gateway = "+"
    if root is None:
        document, table = _table(config_dir, PLANT_FILE, "gateway")
        plant = _converted(document, "gateway", table, _Plant)
        root, gateway = plant.root, plant.id
    root = root.strip("/")
    edge = "/".join([*root.split("/")[:2], "_edge", gateway])
    filters = [(f"{root}/#", False), (f"{edge}/status", True)]
    if not f"{edge}/".startswith(f"{root}/"):
        filters += [(f"{edge}/gap", False), (f"{edge}/batch", False)]
    return filters


class Listening:
    """One subscription, with all that is known of what it brought."""

    def __init__(self, address: Address, filters: Sequence[tuple[str, bool]], target: str) -> None:
        arrivals = Arrivals()
        self.reconciliation = Reconciliation(arrivals, target)
        self.reading = Reading(arrivals, self.reconciliation)
        name = f"tailrace-verify-{secrets.token_hex(4)}"
        self.subscription = Subscription(address, name, filters)
        self._address = address
        self._filters = filters
        self.messages = self.reconnects = 0
        self._connected = True

    def step(self) -> None:
        """Take in what has come. Raises BrokerRefused."""
        try:
            if not self._connected:
                self.subscription.reopen()
                self._connected = True
            for topic, payload, retain in self.subscription.receive(WAIT_S):
                self.messages += 1
                self.reading.take(topic, payload, retain=retain)
        except BrokerUnavailable:
            self.reconnects += self._connected
            self._connected = False
            time.sleep(WAIT_S)

    @property
    def complete(self) -> bool:
        """Whether there is data, and all of it adds up."""
        verdicts = self.reconciliation.verdicts()
        return bool(verdicts) and all(each.sound for each in verdicts)

    def found(self, seconds: float) -> Verification:
        """Return what is to be said after so many seconds."""
        return Verification(
            broker=str(self._address),
            topics=[name for name, _ in self._filters],
            seconds=seconds,
            messages=self.messages,
            reconnects=self.reconnects,
            session_lost=self.subscription.session_lost,
            unread=self.reading.unread.count,
            unread_topics=self.reading.unread.examples,
            gateways=self.reconciliation.verdicts(),
            silent=self.reconciliation.silent(),
            assets=self.reading.assets,
        )


def verify(
    address: Address,
    filters: Sequence[tuple[str, bool]],
    *,
    target: str,
    seconds: float,
    until_complete: bool,
) -> Verification:
    """Listen, until told to stop (Ctrl-C) or long enough, and return what was found.

    Raises BrokerUnavailable when the broker cannot be reached at first, BrokerRefused.
    """
    listening = Listening(address, filters, target)
    begun_s = monotonic_s()
    look_s = begun_s + LOOK_S
    try:
        listening.subscription.open()
        while (now_s := monotonic_s()) < begun_s + seconds:
            listening.step()
            if until_complete and now_s >= look_s:
                if listening.complete:
                    break
                look_s = now_s + LOOK_S
    except KeyboardInterrupt:
        pass  # Somebody has seen enough: what was found until now is told.
    finally:
        listening.subscription.close()
    return listening.found(monotonic_s() - begun_s)


def _table(config_dir: Path, name: str, key: str) -> tuple[Document, dict[str, Any]]:
    findings: list[Finding] = []
    document = read_document(config_dir, name, findings)
    table = table_at(document, key, findings) if document else {}
    if document is None or findings:
        raise ConfigError(findings)
    return document, table


def _converted(document: Document, where: str, table: object, kind: type[T]) -> T:
    """Return what is needed of a table; its other keys are its owner's business."""
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise ConfigError([document.finding(where, str(error))]) from error
