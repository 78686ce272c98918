"""One write transaction of the queue: blocks in and out, and the books that must follow."""

from typing import Any

import msgspec

from common.queue.environment import KEY, sealed
from common.queue.ledger import Account
from common.queue.losses import Changes
from common.queue.state import QueueState, Stage


class Change:
    """What is done between `begin` and commit. Valid inside its transaction only."""

    def __init__(self, transaction: Any, databases: dict[str, Any], state: QueueState) -> None:
        self.transaction = transaction
        self.state = state
        self.ledger = Changes()
        self._databases = databases

    def put(
        self, first: int, block: bytes, stage: int = Stage.WHOLE, *, last: bool = False
    ) -> None:
        """Store a block; `last`: it stands behind all others."""
        self.transaction.put(KEY.pack(first), block, append=last, db=self._databases["blocks"])
        self.state.stage_bytes[stage] += len(block)

    def remove(self, first: int, size_bytes: int, stage: int) -> None:
        """Take a block of the stage out."""
        self.transaction.delete(KEY.pack(first), db=self._databases["blocks"])
        # A block whose header was damaged is booked off the wrong stage; shares are no accounts.
        self.state.stage_bytes[stage] = max(0, self.state.stage_bytes[stage] - size_bytes)

    def put_small(self, database: str, key: bytes, value: Any) -> None:
        """Store a small value under its checksum."""
        packed = sealed(msgspec.msgpack.encode(value))
        self.transaction.put(key, packed, db=self._databases[database])

    def write_books(self, accounts: dict[str, Account]) -> dict[str, Account]:
        """Write the changed accounts and the state; return the accounts as they now are."""
        changed = {}
        for key, change in self.ledger.items():
            changed[key] = accounts.get(key, Account()) + change
            self.put_small("ledger", key.encode(), changed[key])
        self.put_small("meta", b"state", self.state)
        return changed
