"""Logs as logfmt on standard output: one line per change of state, never one per sample."""

import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any


def quoted(value: object) -> str:
    """Return `value` as one logfmt value: quoted only where it must be."""
    text = str(value).replace("\n", " ")
    if text and not any(mark in text for mark in ' "='):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Logfmt(logging.Formatter):
    """`ts=… level=info process=uplink-uns msg="broker is back" target=uns`."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """One line; an exception's traceback follows on its own lines."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        pairs = [
            f"ts={at.replace('+00:00', 'Z')}",
            f"level={record.levelname.lower()}",
            f"process={quoted(self._process)}",
            f"msg={quoted(record.getMessage())}",
        ]
        fields: dict[str, object] = getattr(record, "fields", {})
        pairs += [f"{key}={quoted(value)}" for key, value in fields.items()]
        line = " ".join(pairs)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class Log(logging.LoggerAdapter[logging.Logger]):
    """`log.info("source is back", device="press", after_s=12)`: a sentence, then fields."""

    def process(
        self,
        msg: Any,
        kwargs: MutableMapping[str, Any],
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Move everything that logging does not know itself into the record's fields."""
        own = {key: kwargs.pop(key) for key in ("exc_info", "stack_info") if key in kwargs}
        return msg, {**own, "extra": {"fields": dict(kwargs)}}


def get_log(name: str) -> Log:
    """Return the log of one module."""
    return Log(logging.getLogger(name))


def start_logging(process: str) -> None:
    """Send everything to standard output as logfmt; libraries only from WARNING up."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(Logfmt(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for room in ("__main__", "collectors", "normalizer", "uplink", "console", "demo", "common"):
        logging.getLogger(room).setLevel(logging.INFO)
