"""A payload profile that cannot word some samples, and an uplink that uses it.

`python poisoned_wording.py TARGET …` is `python -m uplink TARGET …` with that profile.
"""

from uplink.__main__ import command
from uplink.contract import Message, Parcel
from uplink.payloads.uns import UnsWording
from uplink.registry import PAYLOADS
from uplink.settings import PayloadConfig
from uplink.surroundings import Identity

POISON_INDEX = 0


class PoisonedWording(UnsWording):
    """As `uns`, but for one column."""

    def message(self, parcel: Parcel, number: int) -> Message:
        if self.index(parcel, number) == POISON_INDEX:
            raise OverflowError("number too large")
        return super().message(parcel, number)


def build_wording(_config: PayloadConfig, identity: Identity) -> PoisonedWording:
    return PoisonedWording(identity)


if __name__ == "__main__":
    PAYLOADS["uns"] = "poisoned_wording"
    command()
