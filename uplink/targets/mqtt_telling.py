"""What a broker adds to the wording, by the manner in which a record is told.

Current values may expire (MQTT 5, 3.3.2.3.3): what a subscriber missed by more than `live_expiry_s`
the broker throws away, retained values included. History never does, nor does a gap: it is the only
word of a loss.

AWS IoT Core takes history by Basic Ingest: published to `$aws/rules/<rule>/<topic>` it goes to the
rule alone, which costs less, and no subscriber sees it. Nothing can be retained there.
"""

from collections.abc import Iterable, Sequence

from common.naming import BASIC_INGEST
from common.records import GapRecord, Record
from uplink.contract import Manner, Message, Parcel, Wording
from uplink.settings import TargetConfig
from uplink.targets.mqtt_config import MqttConfig


class MqttWording:
    """A payload profile for one broker."""

    def __init__(self, wording: Wording, config: MqttConfig) -> None:
        self._wording = wording
        self._expiry_s = config.live_expiry_s
        rule = config.basic_ingest_rule
        self._ingest = f"{BASIC_INGEST}{rule}/" if rule else ""

    def parcels(self, records: Sequence[Record | GapRecord], manner: Manner) -> Iterable[Parcel]:
        """As the profile makes them."""
        return self._wording.parcels(records, manner)

    def index(self, parcel: Parcel, number: int) -> int:
        """As the profile counts."""
        return self._wording.index(parcel, number)

    def message(self, parcel: Parcel, number: int) -> Message:
        """Return the profile's message as this broker gets it. Raises as the profile does."""
        message = self._wording.message(parcel, number)
        if parcel.manner.historical:
            if self._ingest:
                return message._replace(topic=self._ingest + message.topic, retain=False)
        elif self._expiry_s and isinstance(parcel.records[0], Record):
            return message._replace(expiry_s=self._expiry_s)
        return message


def worded_for(wording: Wording, config: TargetConfig) -> Wording:
    """Return the profile as a target gets it: itself, where the target adds nothing to it."""
    if isinstance(config, MqttConfig) and (config.live_expiry_s or config.basic_ingest_rule):
        return MqttWording(wording, config)
    return wording
