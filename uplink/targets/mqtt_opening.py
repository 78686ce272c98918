"""Opening one connection to a broker: what it is made with, and the thread that makes it."""

import threading
from typing import NamedTuple

from paho.mqtt.client import Client
from paho.mqtt.packettypes import PacketTypes

from common.errors import TargetUnavailable
from uplink.settings import TargetSettings
from uplink.targets.mqtt_config import mqtt_config
from uplink.targets.mqtt_events import new_properties
from uplink.targets.mqtt_packets import INBOUND_BYTES_MAX
from uplink.targets.mqtt_socket import GatheringContext
from uplink.tls import explained


class DeafClient(Client):
    """That of paho, deaf to the environment: a variable mqtt_proxy would lead it elsewhere."""

    def _get_proxy(self) -> None:
        return None


class OpeningFiles(NamedTuple):
    """What one connection is made with, read from the files of the target together."""

    context: GatheringContext
    password: str | None


class Opening(threading.Thread):
    """One attempt to open a connection; the client belongs to it until `done` is set."""

    def __init__(self, client: Client, context: GatheringContext, settings: TargetSettings) -> None:
        super().__init__(name="opening", daemon=True)
        self._client = client
        self._context = context
        self._settings = settings
        self.done = threading.Event()
        self.abandoned = False
        self.error: TargetUnavailable | None = None

    def run(self) -> None:
        """Connect and shake hands; `error` says why not."""
        config = mqtt_config(self._settings)
        self._context.begin()
        try:
            self._connect()
        except TargetUnavailable as error:
            self.error = error
        except (OSError, ValueError) as error:  # UnicodeError of a host name is a ValueError.
            at_proxy = bool(config.proxy) and not self._context.reached
            self.error = explained(error, self._settings, at_proxy=at_proxy)
            self.error.__cause__ = error
        finally:
            self.done.set()
        opened = self._context.wrapped
        if opened is not None and (self.abandoned or self.error is not None):
            opened.close()

    def _connect(self) -> None:
        config = mqtt_config(self._settings)
        if config.mqtt_version != "5":
            self._client.connect(*config.first_hop, keepalive=config.keepalive_s)
            return
        properties = new_properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = config.session_expiry_s
        properties.MaximumPacketSize = INBOUND_BYTES_MAX
        self._client.connect(
            *config.first_hop,
            keepalive=config.keepalive_s,
            # A session that is begun anew ends the old one, and publishes its will at once.
            clean_start=not config.session_expiry_s,
            properties=properties,
        )
