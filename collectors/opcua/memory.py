"""What outlives the sessions of one device."""

from dataclasses import dataclass, field

from collectors.deviceclock import DeviceClock
from collectors.opcua.batches import BatchLimit
from collectors.opcua.config import OpcuaSettings
from collectors.opcua.items import Item, items_of
from collectors.opcua.ledger import Ledger
from collectors.opcua.namespaces import Namespaces
from collectors.opcua.resuming import Standing


@dataclass
class Memory:
    """What outlives the sessions of one device."""

    settings: OpcuaSettings
    clock: DeviceClock
    items: list[tuple[Item, ...]]
    """Of each group."""
    reads: BatchLimit
    creates: BatchLimit
    namespaces: Namespaces
    ledger: Ledger = field(default_factory=Ledger)
    standing: Standing | None = None
    """What the last session left at the server, if it was cut off."""
    missed_periods: int = 0
    """Of groups that are polled."""

    @classmethod
    def of(cls, settings: OpcuaSettings, clock: DeviceClock) -> "Memory":
        """Return the memory of a device that was never met."""
        most = settings.config.items_per_call
        numbered = {address.namespace for group in settings.groups for address in group.addresses}
        indexes = frozenset(each for each in numbered if isinstance(each, int) and each)
        return cls(
            settings,
            clock,
            [items_of(group) for group in settings.groups],
            BatchLimit(most),
            BatchLimit(most),
            Namespaces(settings.device, indexes),
        )
