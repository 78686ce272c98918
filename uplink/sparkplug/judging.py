"""What a value is worth, in Sparkplug's words: 192 GOOD, 0 BAD, 500 STALE (6.4.9.1).

Uncertain is STALE: a value is there, and it is not to be relied on. The OPC UA status code's name
stands beside it as the property `reason`, as in the house's JSON; what is known of a sample's time
as `clock`, `source_time` and `repeat`.
"""

from functools import lru_cache
from math import isfinite

from common.records import (
    TIME_MARKS,
    Quality,
    Scalar,
    ValueType,
    clock_word,
    is_repeated,
    quality_name,
    quality_word,
)
from uplink.sparkplug.wire import DataType, properties_field

GOOD, BAD, STALE = 192, 0, 500
DATA_TYPES = {
    ValueType.BOOL: DataType.BOOLEAN,
    ValueType.INT64: DataType.INT64,
    ValueType.UINT64: DataType.UINT64,
    ValueType.FLOAT64: DataType.DOUBLE,
    ValueType.STRING: DataType.STRING,
    ValueType.BYTES: DataType.BYTES,
}
_CODES = {"Good": GOOD, "Uncertain": STALE, "Bad": BAD}

Properties = dict[str, tuple[DataType, float | str]]


def judged(value: Scalar, code: int) -> tuple[Scalar, int]:
    """Return a value and its status code as they are told: NaN and Infinity are no values."""
    if type(value) is float and not isfinite(value):
        return None, code if code & Quality.BAD else Quality.BAD_OUT_OF_RANGE
    return value, code


def quality_properties(code: int) -> Properties:
    """Return what a status code says, as properties; nothing when it is simply Good."""
    found: Properties = {}
    word = quality_word(code)
    if word != "Good":
        found["Quality"] = DataType.INT32, _CODES[word]
        found["reason"] = DataType.STRING, quality_name(code)
    if is_repeated(code):
        found["repeat"] = DataType.BOOLEAN, True
    if code & TIME_MARKS:
        if word := clock_word(code) or "":
            found["clock"] = DataType.STRING, word
        if code & Quality.SOURCE_TIME_LEFT_OUT:
            found["source_time"] = DataType.STRING, "left-out"
    return found


@lru_cache(maxsize=1_024)
def quality_field(code: int) -> bytes:
    """Return the same as the field of a metric."""
    return properties_field(quality_properties(code))
