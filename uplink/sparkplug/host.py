"""The primary host: whether it is there to take what we publish.

spBv1.0/STATE/<host id>    {"online":true,"timestamp":1733904005123}    retained, QoS 1
STATE/<host id>            ONLINE or OFFLINE, as hosts before 3.0 say; only where asked for
"""

import msgspec


class _State(msgspec.Struct, frozen=True):
    online: bool
    timestamp: int


_decode = msgspec.json.Decoder(_State).decode
_WORDS = {b"ONLINE": True, b"OFFLINE": False}


class PrimaryHost:
    """What is known of one host, across connections; each connection has to hear it anew."""

    def __init__(self, host_id: str) -> None:
        self.host_id = host_id
        self.online = False
        self._heard = False
        self._said_at_ms = 0

    def forget(self) -> None:
        """Begin a connection: nothing is known until the broker hands out the STATE it keeps."""
        self.online = self._heard = False

    def hear(self, payload: bytes, *, as_text: bool) -> None:
        """Take in a STATE; what is older than the last one believed is ignored, as is nonsense."""
        if as_text:
            self.online = _WORDS.get(payload.strip(), self.online)
            self._heard = True
            return
        try:
            said = _decode(payload)
        except msgspec.DecodeError:
            return
        if said.timestamp >= self._said_at_ms:
            self._said_at_ms = said.timestamp
            self.online, self._heard = said.online, True

    @property
    def complaint(self) -> str:
        """Return why nothing is published, for a person."""
        why = "its STATE says offline" if self._heard else "the broker keeps no STATE of it"
        return f"waiting for primary host {self.host_id}: {why}"
