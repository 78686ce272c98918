"""A simulated device, asked by a person: `tailrace read simulated:// sine`. The template.

In a real protocol `inspect` opens a connection of its own with the same bounds and the same texts
as the collector's, `read` turns the device's refusal into a Reading with a Bad quality and a note,
and every error of the library becomes SourceUnavailable.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from collectors.inspection import Found, Guess, Reading
from collectors.simulated.address import PATTERNS, Address, parse_address
from collectors.simulated.config import SimulatedSettings
from collectors.simulated.device import SimulatedCollector
from common.clock import monotonic_ns, now_ns
from common.config import suggestion
from common.records import Quality, ValueType

_OFFERED = (
    Found(
        name="Counter",
        address="counter",
        type="",
        unit="1",
        description="one more with every reading",
        value=1,
    ),
    Found(
        name="Sine",
        address="sine",
        type="",
        description='between -peak and +peak, once per "sine_period_s"; keys of the device',
    ),
    Found(
        name="Constant/Number",
        address="constant:42.5",
        type="float64",
        unit="Cel",
        description="always the value behind the colon, here 42.5 °C",
        value=42.5,
    ),
    Found(
        name="Constant/Text",
        address='constant:say "A;B"',
        type="string",
        description="a text may hold what CSV must quote",
        value='say "A;B"',
    ),
)


class SimulatedInspector:
    """One open connection, for questions of a person."""

    def __init__(self, settings: SimulatedSettings) -> None:
        self._collector = SimulatedCollector(settings)
        self._readings = 0

    async def read(self, address: str, type_text: str) -> list[Reading]:
        """Return what the pattern gives at this moment."""
        parsed = parse_address(address, type_text)
        asked_ns = monotonic_ns()
        self._readings += 1
        value = self._collector.value(parsed, self._readings, asked_ns)
        return [
            Reading(
                address=str(parsed),
                source_type=str(parsed.value_type),
                wire=f"pattern {parsed.pattern}, reading {self._readings}",
                value=value,
                quality=Quality.GOOD,
                reply_s=(monotonic_ns() - asked_ns) / 1e9,
                source_at_ns=now_ns(),
            )
        ]

    async def guess(self, address: str) -> list[Guess]:
        """Return the text of a constant as every type that it could be."""
        pattern = address.strip().partition(":")[0]
        if pattern != "constant":
            text = f"{pattern} has one type: there is nothing to guess"
            raise ValueError(f"{text}; leave out --guess, or ask for constant:42")
        found: list[Address] = []
        for value_type in (each for each in ValueType if each is not ValueType.BYTES):
            try:
                found.append(parse_address(address, str(value_type)))
            except ValueError:
                continue
        return [_guess(parsed, alone=len(found) == 1) for parsed in found]

    async def browse(self, under: str) -> AsyncGenerator[Found, None]:
        """Yield an example of each pattern, or of one of them."""
        if under and under not in PATTERNS:
            raise ValueError(f"no pattern {under!r}{suggestion(under, PATTERNS)}")
        for each in _OFFERED:
            if each.address.startswith(under):
                yield each


def _guess(parsed: Address, *, alone: bool) -> Guess:
    """A text that could also be a number is hardly meant as a text."""
    return Guess(
        source_type=str(parsed.value_type),
        value=parsed.value,
        plausible=alone or parsed.value_type is not ValueType.STRING,
    )


@asynccontextmanager
async def inspect(settings: object) -> AsyncIterator[SimulatedInspector]:
    """Connect for the length of the block. This one is never refused."""
    if not isinstance(settings, SimulatedSettings):
        raise TypeError(f"compile_device of simulated makes SimulatedSettings, found {settings!r}")
    yield SimulatedInspector(settings)
