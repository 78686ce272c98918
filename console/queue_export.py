"""`tailrace queue export`: what the queue holds as CSV or JSON lines, in constant memory."""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Literal

import msgspec

from common.errors import TailraceError
from common.queue import QueueReader
from console.notation import instant_ns
from console.queue_rows import CSV_COLUMNS, Missing, Selection, csv_cells, rows


class CannotWrite(TailraceError):
    """The output file is in the way, or its folder cannot be written."""


class Exported(msgspec.Struct):
    """How much was written."""

    samples: int = 0
    gaps: int = 0


def export(
    reader: QueueReader, selection: Selection, form: Literal["csv", "jsonl"], out: IO[str]
) -> Exported:
    """Write what was selected. Raises QueueUnusable."""
    done = Exported()
    table = csv.writer(out, lineterminator="\n")
    encode = msgspec.json.Encoder().encode
    if form == "csv":
        table.writerow(CSV_COLUMNS)
    for row in rows(reader, selection):
        if form == "csv":
            table.writerow(csv_cells(row))
        else:
            out.write(encode(row).decode() + "\n")
        if isinstance(row, Missing):
            done.gaps += 1
        else:
            done.samples += 1
    return done


@contextmanager
def output_file(path: Path, *, force: bool) -> Iterator[IO[str]]:
    """Open a file that appears under its name once it is whole, and not at all if it never is.

    Raises CannotWrite, without `force` also when there is one already.
    """
    if path.exists() and not force:
        raise CannotWrite(f"{path} exists; choose another name, or overwrite it with --force")
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with fresh.open("x", encoding="utf-8", newline="") as file:
            yield file
        fresh.replace(path)
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {error.strerror}") from error
    finally:
        fresh.unlink(missing_ok=True)


def time_ns(text: str) -> int:
    """Return an ISO 8601 date or time as ns since 1970; UTC where it says nothing else.

    Raises ValueError.
    """
    return instant_ns(datetime.fromisoformat(text))
