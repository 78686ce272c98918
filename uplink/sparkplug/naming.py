"""What the gateway and its assets are called in Sparkplug's topics."""

from common.records import Plan
from uplink.sparkplug.config import SparkplugConfig
from uplink.surroundings import Identity

NAMESPACE = "spBv1.0"
"""Sparkplug 3.0, 4.1.1."""
_GROUP_LEVELS = 2


class Names:
    """The topics of one edge node."""

    def __init__(self, config: SparkplugConfig, identity: Identity) -> None:
        levels = identity.root.split("/")
        self.group = config.group_id or ":".join(levels[:_GROUP_LEVELS])
        self.node = config.edge_node_id or identity.gateway
        self.barrier = config.barrier_topic or f"{identity.edge}/barrier"
        self._root = f"{identity.root}/" if config.devices == "asset" else ""
        self._called: dict[bytes, str] = {}
        self._hosts = [f"{NAMESPACE}/STATE/{config.primary_host}"] if config.primary_host else []
        if config.primary_host and config.primary_host_text:
            self._hosts.append(f"STATE/{config.primary_host}")

    def topic(self, kind: str, device: str = "") -> str:
        """Return the topic of one message type, of the node itself or of one of its devices."""
        own = f"{NAMESPACE}/{self.group}/{kind}/{self.node}"
        return f"{own}/{device}" if device else own

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """What an edge node subscribes to. No DCMD: no device here has an output."""
        return (self.topic("NCMD"), *self._hosts)

    def is_state(self, topic: str) -> bool:
        """Return whether a topic is that of our primary host's STATE."""
        return topic in self._hosts

    def is_own(self, topic: str) -> bool:
        """Return whether a topic is in Sparkplug's namespace."""
        return topic.startswith(f"{NAMESPACE}/")

    def device(self, plan: Plan) -> str:
        """Return what the asset of a plan is called: one level, whatever its path has."""
        found = self._called.get(plan.fingerprint)
        if found is None:
            first = plan.columns[0]
            path = first.topic.removesuffix(f"/{first.name}").removeprefix(self._root)
            found = self._called[plan.fingerprint] = path.replace("/", ":")
        return found
