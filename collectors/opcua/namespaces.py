"""Which node an address means at a server: namespaces by URI, and indexes that changed meaning."""

from dataclasses import dataclass, field

from asyncua import ua

from collectors.opcua.address import NodeAddress
from common.log import get_log
from common.records import Quality

log = get_log(__name__)


@dataclass
class Namespaces:
    """The namespace array of one server; outlives sessions."""

    device: str
    numbered: frozenset[int] = frozenset()
    """Indexes that tags are addressed by."""
    now: tuple[str, ...] = ()
    """As the server has them now; empty when it does not tell."""
    first: dict[int, str] = field(default_factory=dict)
    """What each of `numbered` meant when this process first met it."""
    _told: set[tuple[int, str]] = field(default_factory=set)

    def take(self, names: tuple[str, ...]) -> None:
        """Take the server's namespace array; log each index that means another one than before."""
        self.now = names
        for index in sorted(self.numbered):
            if index >= len(names):
                continue
            was, now = self.first.setdefault(index, names[index]), names[index]
            if was != now and (index, now) not in self._told:
                self._told.add((index, now))
                text = f"namespace {index} was {was}, is {now}: write nsu= in the tags' addresses"
                log.warning(text, device=self.device)

    def node_of(self, address: NodeAddress) -> ua.NodeId | int:
        """Return the node that an address means, or the Bad status of one that means none.

        The node that an index leads to now, where it led to another namespace before, may well
        exist: its values would be taken for those of the other.
        """
        index = address.namespace
        if isinstance(index, str):
            if index not in self.now:
                return Quality.BAD_NODE_ID_UNKNOWN
            index = self.now.index(index)
        elif index < len(self.now) and self.first.get(index, self.now[index]) != self.now[index]:
            return Quality.BAD_CONFIGURATION_ERROR
        return ua.NodeId(address.identifier, index)  # type: ignore[arg-type]  # its own ints
