"""Goal: docs/formats/block.md is true and enough: a reader written from it alone reads every block.

Method: the reader below knows the page and nothing of common/block; it works number by number, in
plain Python. What it cannot show: that the page is easy to read.
"""

import struct
import zlib
from itertools import groupby
from typing import Any

import msgspec
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from common.block import decode_block, encode_batch, encode_block, open_batch
from common.records import Plan, ValueType
from tests.unit.common.block_builders import GAP, Row, parts_and_records, same, scans

U64 = 2**64
NO_TIME = -(2**63)


class Reader:
    """Reads one block, as the page says."""

    def __init__(self, block: bytes, plans: list[Plan]) -> None:
        magic, crc, length = struct.unpack_from("<4sII", block)
        assert (magic, crc) == (b"TRB2", zlib.crc32(block[:4] + block[8:length]))
        codec, _, count, self.first, _, self.at_ns, _, _, raw, body_crc = struct.unpack_from(
            "<BBHQQqqIII", block, 12
        )
        assert (codec, body_crc) == (1, zlib.crc32(block[length:]))
        manifest = [struct.unpack_from("<III", block, 60 + 12 * i) for i in range(count)]
        body = zstandard.decompress(block[length:])
        assert len(body) == raw
        end = 4 + struct.unpack_from("<I", body)[0]
        sections, self.gaps = msgspec.msgpack.decode(body[4:end])
        self.arrays = body[end:]
        self.samples: dict[tuple[int, int], list[Any]] = {}
        """(sequence, column) → [read time, value, status, source time], of all sections."""
        for (plan_id, records, samples), section in zip(manifest, sections, strict=True):
            self.section(plans[plan_id], records, samples, section)
        assert self.arrays == b""

    def taken(self, size: int) -> bytes:
        found, self.arrays = self.arrays[:size], self.arrays[size:]
        assert len(found) == size
        return found

    def planes(self, items: int, least: int, width: int) -> list[int]:
        planes = [self.taken(items) for _ in range(width)]
        return [
            (least + sum(plane[i] << 8 * k for k, plane in enumerate(planes))) % U64
            for i in range(items)
        ]

    def array(self, description: list[Any] | None, code: str = "Q") -> list[int]:
        if description is None:
            return []
        encoding, items, *rest = description
        if encoding == 0:
            return list(struct.unpack(f"<{items}{code}", self.taken(items * struct.calcsize(code))))
        if encoding == 1:
            return self.planes(items, *rest)
        if encoding == 2:
            return summed(self.planes(items, *rest))
        assert encoding == 3
        start, unit, period, counted, lates = rest
        counts = summed(self.planes(items, *counted))
        late = self.planes(items, *lates)
        return [
            (start + unit * (period * c + at)) % U64 for c, at in zip(counts, late, strict=True)
        ]

    def section(self, plan: Plan, records: int, samples: int, fields: list[Any]) -> None:
        order, sequences, read_at, presence, nulls, quality_at, codes, source_at, values, texts = (
            fields
        )
        sequence = [self.first + offset for offset in self.array(sequences)]
        read_ns = [self.at_ns + signed(offset) for offset in self.array(read_at, "q")]
        width = len(plan.columns)
        places = (self.by_record, self.by_column)[order](presence, records, width)
        assert len(places) == samples
        null = set(self.array(nulls, "I"))
        quality = dict(zip(self.array(quality_at, "I"), self.array(codes, "I"), strict=True))
        times: list[int | None] = [None] * samples
        if source_at and order == 0:
            late = [signed(number) for number in self.array(source_at[0], "q")]
            times = [
                None if number == NO_TIME else read_ns[record] + number
                for number, (record, _) in zip(late, places, strict=True)
            ]
        elif source_at:
            times = self.swept(source_at, places, read_ns)
        types = [plan.columns[column].value_type for _, column in places]
        if order == 0:
            found = self.values_by_type(values, texts, types)
        else:
            found = self.values_by_column(values, texts, plan, places, null)
        for i, (record, column) in enumerate(places):
            self.samples[sequence[record], column] = [
                read_ns[record], None if i in null else found[i], quality.get(i, 0), times[i],
            ]  # fmt: skip

    def by_record(self, presence: list[Any], records: int, width: int) -> list[tuple[int, int]]:
        if not presence:
            return [(record, column) for record in range(records) for column in range(width)]
        counts, indexes = self.array(presence[0], "I"), self.array(presence[1], "H")
        of = [record for record, count in enumerate(counts) for _ in range(count)]
        return list(zip(of, indexes, strict=True))

    def by_column(self, presence: list[Any], records: int, width: int) -> list[tuple[int, int]]:
        if not presence:
            return [(record, column) for column in range(width) for record in range(records)]
        counts, steps = self.array(presence[0]), iter(self.array(presence[1]))
        places = []
        for column, count in enumerate(counts):
            record = -1
            for _ in range(count):
                record += next(steps)
                places.append((record, column))
        return places

    def swept(
        self, source_at: list[Any], places: list[tuple[int, int]], read_ns: list[int]
    ) -> list[int | None]:
        unit, untimed, firsts, steps = source_at
        without = set(self.array(untimed))
        first, step = iter(self.array(firsts)), iter(self.array(steps))
        by_record = sorted(range(len(places)), key=lambda i: places[i])
        timed = [i for n, i in enumerate(by_record) if n not in without]
        times: list[int | None] = [None] * len(places)
        for record, group in groupby(timed, key=lambda i: places[i][0]):
            early = 0
            for n, i in enumerate(group):
                early += unzigzagged(next(first) if n == 0 else next(step))
                times[i] = (read_ns[record] // unit - early) * unit
        return times

    def values_by_type(
        self, values: list[Any], texts: list[Any], types: list[ValueType]
    ) -> list[Any]:
        strings = types.count(ValueType.STRING)
        held = {
            ValueType.BOOL: [number != 0 for number in self.array(values[0], "B")],
            ValueType.INT64: self.array(values[1], "q"),
            ValueType.UINT64: self.array(values[2], "Q"),
            ValueType.FLOAT64: self.array(values[3], "d"),
            ValueType.STRING: texts[:strings],
            ValueType.BYTES: texts[strings:],
        }
        sources = {value_type: iter(of_type) for value_type, of_type in held.items()}
        return [next(sources[value_type]) for value_type in types]

    def values_by_column(
        self,
        values: list[Any],
        texts: list[Any],
        plan: Plan,
        places: list[tuple[int, int]],
        null: set[int],
    ) -> dict[int, Any]:
        forms, corrected, classed, firsts, *steps = values
        form, corrections = self.array(forms), iter(self.array(corrected))
        classes, first = self.array(classed), iter(self.array(firsts))
        valued = [i for i in range(len(places)) if i not in null]
        by_column = [
            (column, list(of)) for column, of in groupby(valued, key=lambda i: places[i][1])
        ]
        used = sorted({classes[column] for column, of in by_column if len(of) > 1})
        step = {each: iter(self.array(array)) for each, array in zip(used, steps, strict=True)}
        found = {}
        for column, of in by_column:
            number = 0
            for n, i in enumerate(of):
                source = first if n == 0 else step[classes[column]]
                number = (number + unzigzagged(next(source))) % U64
                value_type = plan.columns[column].value_type
                if value_type is ValueType.FLOAT64:
                    tag = plan.columns[column]
                    correction = unzigzagged(next(corrections))
                    found[i] = made(form[column], number, correction, tag.scale, tag.offset)
                elif value_type is ValueType.INT64:
                    found[i] = signed(number)
                elif value_type is ValueType.UINT64:
                    found[i] = number
                else:
                    found[i] = number != 0 if value_type is ValueType.BOOL else texts[number]
        return found


def signed(number: int) -> int:
    return number - U64 if number >= U64 // 2 else number


def unzigzagged(number: int) -> int:
    return number >> 1 if number % 2 == 0 else -(number >> 1) - 1


def summed(steps: list[int]) -> list[int]:
    number, found = 0, []
    for step in steps:
        number = (number + unzigzagged(step)) % U64
        found.append(number)
    return found


def cast(code: str, value: float, to: str) -> Any:
    return struct.unpack(to, struct.pack(code, value))[0]


def made(form: int, number: int, correction: int, scale: float, offset: float) -> float:
    digits, single, scaled = form & 0x0F, form & 0x40, form & 0x80
    if digits == 15:
        value = cast("<I", number % 2**32, "<f") if single else cast("<Q", number, "<d")
    else:
        value = signed(number) / 10**digits
        value = cast("<f", value, "<f") if single else value
    if scaled:
        value = value * scale + offset
    if single and not scaled:
        bits = cast("<f", value, "<I") + correction
        return float(cast("<I", bits % 2**32, "<f"))
    return float(cast("<Q", (cast("<d", value, "<Q") + correction) % U64, "<d"))


@settings(max_examples=200, deadline=None)
@given(st.lists(scans(), min_size=1, max_size=2), st.sampled_from(["appended", "compact"]))
def test_a_reader_written_from_the_page_reads_every_block(
    groups: list[tuple[Plan, list[Row]]], form: str
) -> None:
    """Changes that writer and reader agree on are changes of the format all the same.

    Seen to bite: source times late instead of early; classes descending; the two flags of a form
    changed for each other; presence counted from 0.
    """
    parts, records, plans = parts_and_records(groups, 7)
    block = encode_block([*parts, GAP], 7, plans.index)
    if form == "compact":
        block = encode_batch(open_batch(block, plans.__getitem__), 1)

    reader = Reader(block, plans)

    wanted = {}
    for record in same(records):
        sequence, _, read_at_ns, values, _, indexes, qualities, times = record
        for i, column in enumerate(indexes or range(len(values))):
            time = times[i] if times else None
            wanted[sequence, column] = [read_at_ns, values[i], (qualities or [0] * 99)[i], time]
    found = {
        key: [
            sample[0],
            sample[1].hex() if isinstance(sample[1], float) else sample[1],
            *sample[2:],
        ]
        for key, sample in reader.samples.items()
    }
    assert found == wanted
    assert reader.gaps == [[len(parts), 0, list(msgspec.structs.astuple(GAP))]]
    assert decode_block(block, plans.__getitem__)[-1].sequence == 7 + len(parts)
