"""Addresses of the simulated device: the name of a pattern, and its argument.

counter           one more with every scan since the process started
sine              between -peak and +peak, once per sine_period_s
constant:VALUE    always VALUE; its type from the `type` column, or from how it is written
"""

from typing import NamedTuple

from common.config import suggestion
from common.records import Scalar, ValueType

PATTERNS = ["constant", "counter", "sine"]
_TYPES = {str(each): each for each in ValueType if each is not ValueType.BYTES}
_BOOLS = {"true": True, "false": False}


class Address(NamedTuple):
    """One pattern. `str()` is the canonical form."""

    pattern: str
    value_type: ValueType
    value: Scalar = None
    """Of a constant; None for the others."""

    def __str__(self) -> str:
        if self.pattern != "constant":
            return self.pattern
        text = str(self.value)
        return f"constant:{text.lower() if isinstance(self.value, bool) else text}"


def parse_address(text: str, type_text: str = "") -> Address:
    """Return the address. Raises ValueError with a sentence that says what to write instead."""
    pattern, colon, value = text.strip().partition(":")
    if pattern not in PATTERNS:
        raise ValueError(f"unknown pattern {pattern!r}{suggestion(pattern, PATTERNS)}")
    if pattern == "constant":
        if not value:
            raise ValueError("constant needs its value: constant:42")
        return _constant(value, type_text.strip().lower())
    if colon:
        raise ValueError(f"{pattern} takes no argument; leave out {value!r}")
    value_type = ValueType.INT64 if pattern == "counter" else ValueType.FLOAT64
    if type_text.strip().lower() not in ("", value_type):
        raise ValueError(f"{pattern} is {value_type}; leave the type column empty")
    return Address(pattern, value_type)


def _constant(text: str, type_text: str) -> Address:
    """Return a constant of the type that is asked for, or that its text suggests."""
    if type_text and type_text not in _TYPES:
        raise ValueError(f"unknown type {type_text!r}{suggestion(type_text, list(_TYPES))}")
    wanted = [_TYPES[type_text]] if type_text else list(_TYPES.values())
    for value_type in wanted:
        try:
            return Address("constant", value_type, _value(text, value_type))
        except (ValueError, KeyError):
            continue
    raise ValueError(f"{text!r} is not a {type_text}; change the value or the type column")


def _value(text: str, value_type: ValueType) -> Scalar:
    """Raises ValueError or KeyError when the text is not of the type."""
    if value_type is ValueType.BOOL:
        return _BOOLS[text.lower()]
    if value_type is ValueType.FLOAT64:
        return float(text)
    if value_type is ValueType.STRING:
        return text
    least, most = (-(2**63), 2**63 - 1) if value_type is ValueType.INT64 else (0, 2**64 - 1)
    if not least <= int(text) <= most:
        raise ValueError(f"{text} does not fit {value_type}")
    return int(text)
