"""Goal: a recording is read as it was written, and one that is torn says at which line."""

from pathlib import Path

import pytest

from common.rawscans import GroupLine, ScanLine, Unreadable, encode_line, lines_of

GROUP = GroupLine(device="press", group="fast", tags=["A", "B"], addresses=["x", "y"])
SCAN = ScanLine(
    of=0, at_ns=7, values=[1.5, {"float": "nan"}], qualities=[0, 1], source_at_ns=[None, 3]
)


def written(folder: Path, *lines: bytes) -> Path:
    path = folder / "shift.jsonl"
    path.write_bytes(b"".join(lines))
    return path


def test_what_is_written_is_read_with_its_line_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, encode_line(GROUP), b"\n", encode_line(SCAN))

    assert list(lines_of(path)) == [(1, GROUP), (3, SCAN)]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([b"{"], 'jsonl:1: Input data was truncated; a line of a recording begins with {"line"'),
        ([b"\xff\n"], "shift.jsonl:1: "),
        ([b'{"line":"scam"}'], "shift.jsonl:1: Invalid value 'scam'"),
        ([encode_line(GROUP), b'{"line":"scan","of":0,"at":7}'], "unknown field `at`"),
        ([encode_line(SCAN)], "shift.jsonl:1: of = 0, but 0 group lines stand above it"),
        ([encode_line(GROUP), encode_line(ScanLine(of=1, at_ns=7, values=[1]))],
         "shift.jsonl:2: of = 1, but 1 group lines stand above it"),
        ([encode_line(GROUP), encode_line(ScanLine(of=0, at_ns=7, values=[1]))],
         "shift.jsonl:2: 1 values of 2 tags"),
        ([encode_line(GROUP), encode_line(ScanLine(of=0, at_ns=7, values=[1, 2], qualities=[0]))],
         "shift.jsonl:2: 1 qualities of 2 tags"),
        ([encode_line(GROUP), encode_line(ScanLine(of=0, at_ns=7, values=[1, 2], source_at_ns=[]))],
         "shift.jsonl:2: 0 source_at_ns of 2 tags"),
    ],
)  # fmt: skip
def test_what_is_torn_is_named_with_its_line(tmp_path: Path, lines: list[bytes], says: str) -> None:
    with pytest.raises(Unreadable) as raised:
        list(lines_of(written(tmp_path, *lines)))

    assert says in str(raised.value)


@pytest.mark.parametrize("indexes", [[1, 0], [0, 0], [-1, 0], [1, 2]])
def test_indexes_are_ascending_places_of_the_tags(tmp_path: Path, indexes: list[int]) -> None:
    scan = ScanLine(of=0, at_ns=7, values=[1, 2], indexes=indexes)
    path = written(tmp_path, encode_line(GROUP), encode_line(scan))

    with pytest.raises(Unreadable, match=r":2: indexes must be ascending places of the 2 tags"):
        list(lines_of(path))


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="cannot be read: No such file or directory"):
        list(lines_of(tmp_path / "nothing.jsonl"))
