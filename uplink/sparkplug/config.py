"""[targets.NAME.sparkplug]: the gateway as a Sparkplug edge node."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

_Id = Annotated[str, Meta(max_length=128, pattern=r"^[^+/#\x00-\x1f\x7f]*$")]
"""One level of a topic: any text but + / # (Sparkplug 3.0, 4.1)."""
_Topic = Annotated[str, Meta(max_length=256, pattern=r"^[^+#\x00-\x1f\x7f]*$")]


class SparkplugConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the gateway presents itself; used with payload = "sparkplug" alone."""

    group_id: _Id = ""
    """Empty: the first two levels of the gateway's root, joined by a colon: `Acme:SiteA`."""
    edge_node_id: _Id = ""
    """Empty: the gateway's id. With group_id it must be unique in the whole infrastructure."""
    devices: Literal["asset", "path"] = "asset"
    """What a device is called: `asset`, its levels below the root, joined by colons; `path`, all
    levels, as UMH's modified Parris method does."""
    primary_host: _Id = ""
    """Its host id. While its STATE is not online, nothing is published. Empty: there is none."""
    primary_host_text: bool = False
    """Also believe `STATE/<id>` with the text ONLINE or OFFLINE, as hosts before 3.0 publish."""
    aliases: bool = True
    """Data names a metric by a number that its birth gave it; false: by its name, every time."""
    rebirth_interval_s: Annotated[float, Meta(ge=1, le=3_600)] = 5.0
    """Between two births that were asked for; requests in between are answered by one."""
    barrier_messages: Annotated[int, Meta(ge=1, le=1_000)] = 100
    """Data is published at QoS 0; after so many messages one at QoS 1 confirms them all."""
    barrier_topic: _Topic = ""
    """Where it is published. Empty: <enterprise>/<site>/_edge/<gateway>/barrier."""
    edge_status: bool = True
    """Whether the house's own JSON status is published beside, not retained."""
