"""What a source file of a PLC's program declares: `tailrace browse DEVICE --from FILE`."""

from collections.abc import Sequence
from pathlib import Path

from collectors.addressee import CannotAsk
from collectors.inspection import Found
from collectors.registry import SOURCES, source_reader_of

SOURCE_BYTES_MAX = 16_000_000


def declared_in(path: Path, protocol: str, db: int | None) -> Sequence[Found]:
    """Return the tags that a file declares for a device of a protocol; no device is asked.

    `db` is the number of the data block, where the file names it by a symbol only. TIA Portal
    writes UTF-8, STEP 7 the code page of its Windows. Raises CannotAsk with file, line and what to
    do.
    """
    read_source = source_reader_of(protocol)
    if read_source is None:
        known = ", ".join(sorted(SOURCES))
        text = f"--from reads sources of {known}, and the device is {protocol}; leave it out, and"
        raise CannotAsk("usage", f"{text} the device itself is asked")
    try:
        with path.open("rb") as file:
            content = file.read(SOURCE_BYTES_MAX + 1)
    except OSError as error:
        raise CannotAsk("usage", f"{path} cannot be read: {error.strerror}") from error
    if len(content) > SOURCE_BYTES_MAX:
        text = f"{path}: more than {SOURCE_BYTES_MAX:,} bytes"
        raise CannotAsk("found", f"{text}; generate the source of one block")
    try:
        return read_source(_text(content), db)
    except ValueError as error:
        raise CannotAsk("found", f"{path}: {error}") from error


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")
