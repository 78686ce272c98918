"""What the demo shows: a live table on a terminal, plain lines anywhere else."""

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from demo.watcher import Latest

REFRESH_S = 0.5
SUMMARY_EVERY_S = 5.0
STAMP_WIDTH = len("+1234.5 s")
QUALITY_STYLES = {"Good": "green", "Uncertain": "yellow", "Bad": "red"}


@dataclass(frozen=True)
class Row:
    """One tag as the namespace shows it."""

    name: str
    """The topic below the root of the line."""
    unit: str
    """As a person writes it: nothing for a plain number, which UCUM calls `1`."""
    latest: Latest | None


@dataclass(frozen=True)
class Picture:
    """What there is to show at one moment."""

    at_s: float
    """Since the gateway's processes were started."""
    rows: tuple[Row, ...]
    messages: int
    queue_depth: int | None
    """Records that wait for the broker; None when nobody says."""
    line_up: bool
    """Whether the WAN is there."""

    @property
    def summary(self) -> str:
        """One line: how much has arrived, and how much waits."""
        good = sum(1 for row in self.rows if row.latest and row.latest.quality == "Good")
        depth = "unknown" if self.queue_depth is None else f"{self.queue_depth:,}"
        wan = "up" if self.line_up else "CUT"
        tags = f"{good} of {len(self.rows)} tags Good"
        return f"{tags}, {self.messages:,} messages; queue depth {depth}; WAN {wan}"


class Screen(Protocol):
    """Where the demo speaks to a person."""

    def __enter__(self) -> Self:
        """Take the screen."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Give the screen back, however the demo ends."""
        ...

    def say(self, text: str) -> None:
        """Print one line that stays."""
        ...

    def show(self, picture: Picture) -> None:
        """Show the moment; called every REFRESH_S."""
        ...


def stamp(at_s: float) -> str:
    """Return the time since the start as the first column of a line."""
    return f"+{at_s:.1f} s".rjust(STAMP_WIDTH)


def shown(value: Any) -> str:
    """Return a value for a person: floats with the digits that matter here."""
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "-" if value is None else str(value)


class PlainLines:
    """Each topic's first value as a line, then a summary every few seconds."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._next_summary_s = SUMMARY_EVERY_S

    def say(self, text: str) -> None:
        """Print one line."""
        print(text, flush=True)  # noqa: T201 - this is the demo's voice

    def show(self, picture: Picture) -> None:
        """Print what is new."""
        width = max((len(row.name) for row in picture.rows), default=0)
        for row in picture.rows:
            if row.latest and row.name not in self._told:
                self._told.add(row.name)
                value = " ".join(filter(None, (shown(row.latest.value), row.unit)))
                quality = row.latest.quality
                self.say(f"{stamp(picture.at_s)}  {row.name:<{width}}  {value} {quality}")
        if picture.at_s >= self._next_summary_s:
            self._next_summary_s = picture.at_s + SUMMARY_EVERY_S
            self.say(f"{stamp(picture.at_s)}  {picture.summary}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Nothing to give back."""


class LiveTable:
    """A table that is brought up to date in place; lines that stay scroll by above it."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=False)

    def say(self, text: str) -> None:
        """Print one line above the table."""
        self._live.console.print(Text(text))

    def show(self, picture: Picture) -> None:
        """Draw the table anew."""
        table = Table(box=None, pad_edge=False, caption_justify="left", expand=False)
        table.add_column("topic below the line")
        table.add_column("value", justify="right", min_width=10)
        table.add_column("unit")
        table.add_column("quality")
        table.add_column("age", justify="right", min_width=8)
        for row in picture.rows:
            latest = row.latest
            if latest is None:
                table.add_row(row.name, "", Text(row.unit), Text("waiting", style="dim"), "")
                continue
            quality = Text(latest.quality, style=QUALITY_STYLES.get(latest.quality, ""))
            value = Text(shown(latest.value))
            table.add_row(row.name, value, Text(row.unit), quality, f"{latest.age_s:.1f} s")
        style = "" if picture.line_up else "bold red"
        whole = Table.grid()
        whole.add_row(table)
        whole.add_row(Text(f"\n+{picture.at_s:.0f} s  {picture.summary}", style=style))
        whole.add_row(Text("to end: Ctrl-C", style="dim"))
        self._live.update(whole, refresh=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._live.stop()


def make_screen() -> Screen:
    """Return the live table on a terminal, plain lines where output goes elsewhere."""
    console = Console(highlight=False)
    return LiveTable(console) if console.is_terminal else PlainLines()


def pause() -> None:
    """Wait until the next picture is due."""
    time.sleep(REFRESH_S)
