"""`python -m collectors.asking`: one question of a person to one device. The console starts it.

    read DEVICE ADDRESS…      what stands there, once or again and again (--every)
    guess DEVICE ADDRESS…     its bytes as every type and order
    browse DEVICE [UNDER]     what the device offers; with --from FILE, what a source of its
                              program declares, without asking the device

What is found goes to standard output as common/answers.py says. The connection is one of its own,
open for the length of the question, and everything on it is bounded by --timeout. When standard
input is a pipe, the question ends with it.
"""

import argparse
import asyncio
import logging
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

from collectors.addressee import Addressee, CannotAsk, Wanted, addressee
from collectors.declared import declared_in
from collectors.inspection import Found, Inspect, Inspector, Reading
from common.answers import (
    BROWSING,
    EXIT_OF,
    Busy,
    Connected,
    FoundTold,
    GuessTold,
    Lost,
    ReadingTold,
    Refusal,
    Told,
    Wrong,
    encode,
    plain,
)
from common.clock import monotonic_s, now_ns
from common.errors import SourceUnavailable
from common.places import add_places, places_of

BUSY_EVERY_S = 0.5
AGAIN_S = 1.0
"""A lost connection is tried again not sooner than this."""
TIMEOUT_MAX_S = 600.0

Tell = Callable[[Told], None]


class Question:
    """One question, answered line by line through `tell`."""

    def __init__(self, whom: Addressee, inspect: Inspect, tell: Tell, timeout_s: float) -> None:
        self._whom = whom
        self._inspect = inspect
        self._timeout_s = timeout_s
        self._tell = tell
        self._wrong = False

    @property
    def any_wrong(self) -> bool:
        """True when an address could not be asked."""
        return self._wrong

    async def read(self, wanted: list[Wanted]) -> None:
        """Tell what stands at each address. Raises SourceUnavailable."""
        async with self._connected() as inspector:
            await self._round(inspector, wanted)

    async def watch(self, wanted: list[Wanted], every_s: float, rounds: int | None) -> None:
        """Read again and again, on a fixed grid of time; a lost connection is opened again.

        Raises SourceUnavailable when there never was a connection.
        """
        done, met = 0, False
        while rounds is None or done < rounds:
            try:
                async with self._connected() as inspector:
                    met = True
                    due_s = monotonic_s()
                    while rounds is None or done < rounds:
                        await self._round(inspector, wanted)
                        done += 1
                        if self._wrong or done == rounds:
                            return
                        due_s = max(due_s + every_s, monotonic_s())
                        await asyncio.sleep(due_s - monotonic_s())
            except SourceUnavailable as error:
                if not met:
                    raise
                self._tell(Lost(text=str(error)))
                await asyncio.sleep(max(every_s, AGAIN_S))

    async def guess(self, wanted: list[Wanted]) -> None:
        """Tell the bytes at each address as every type. Raises SourceUnavailable."""
        async with self._connected() as inspector:
            for each in wanted:
                try:
                    async with self._bounded(f"asking for {each.asked}"):
                        guesses = await inspector.guess(each.address)
                except ValueError as error:
                    self._refuse(each, error)
                    continue
                for guess in sorted(guesses, key=lambda each: not each.plausible):
                    self._tell(
                        GuessTold(
                            asked=each.asked,
                            type=guess.source_type,
                            value=plain(guess.value),
                            plausible=guess.plausible,
                        )
                    )

    async def browse(self, under: str) -> None:
        """Tell what the device offers, as it comes. Raises SourceUnavailable."""
        async with self._connected() as inspector, aclosing(inspector.browse(under)) as offered:
            while True:
                try:
                    async with self._bounded(BROWSING):
                        found = await anext(offered, None)
                except ValueError as error:
                    raise CannotAsk("usage", str(error)) from error
                if found is None:
                    return
                self._tell(found_told(found))

    async def _round(self, inspector: Inspector, wanted: list[Wanted]) -> None:
        for each in wanted:
            try:
                async with self._bounded(f"asking for {each.asked}"):
                    readings = await inspector.read(each.address, each.type_text)
            except ValueError as error:
                self._refuse(each, error)
                continue
            read_at_ns = now_ns()
            for place, reading in enumerate(readings):
                if each.element in (None, place):
                    self._tell(told_of(each, place, reading, read_at_ns))

    def _refuse(self, wanted: Wanted, error: ValueError) -> None:
        self._wrong = True
        text = f"{error}{self._whom.near(wanted.asked)}"
        self._tell(Wrong(asked=wanted.asked, text=text))

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Inspector]:
        """Open the connection for the length of the block, and say when it is there."""
        began_s = monotonic_s()
        async with AsyncExitStack() as stack:
            async with self._bounded(f"connecting to {self._whom.called}"):
                inspector = await stack.enter_async_context(self._inspect(self._whom.settings))
            self._tell(
                Connected(
                    device=self._whom.called,
                    protocol=self._whom.protocol,
                    after_s=monotonic_s() - began_s,
                )
            )
            yield inspector

    @asynccontextmanager
    async def _bounded(self, doing: str) -> AsyncIterator[None]:
        """Give the block --timeout, and say every half second that it still lasts."""
        began_s = monotonic_s()

        async def remind() -> None:
            while True:
                await asyncio.sleep(BUSY_EVERY_S)
                self._tell(Busy(doing=doing, for_s=monotonic_s() - began_s))

        reminder = asyncio.ensure_future(remind())
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise SourceUnavailable(f"{doing}: {error}") from error
            text = f"no answer within {self._timeout_s:g} s while {doing}"
            raise SourceUnavailable(f"{text}; wait longer with --timeout") from error
        finally:
            reminder.cancel()


def found_told(found: Found) -> FoundTold:
    """Return what was found as it is told."""
    return FoundTold(
        name=found.name,
        address=found.address,
        type=found.type,
        unit=found.unit,
        description=found.description,
        readable=found.readable,
        value=plain(found.value),
    )


def told_of(wanted: Wanted, place: int, reading: Reading, read_at_ns: int) -> ReadingTold:
    """Return a reading as it is told: with the tag's name, its scale and its unit."""
    columns = wanted.columns
    column = columns[place] if place < len(columns) else None
    scaled = None
    number = isinstance(reading.value, int | float) and not isinstance(reading.value, bool)
    if column and column.scaled and number:
        scaled = plain(reading.value * column.scale + column.offset)
    return ReadingTold(
        asked=wanted.asked,
        tag=column.name if column else "",
        address=reading.address,
        type=reading.source_type,
        wire=reading.wire,
        raw=None if reading.raw is None else reading.raw.hex(),
        value=plain(reading.value),
        scaled=scaled,
        unit=column.unit if column else "",
        quality=reading.quality,
        read_at_ns=read_at_ns,
        reply_s=reading.reply_s,
        source_at_ns=reading.source_at_ns,
        note=reading.note,
    )


def _line(told: Told) -> None:
    sys.stdout.buffer.write(encode(told))
    sys.stdout.buffer.flush()


def _watch_stdin(task: asyncio.Task[None]) -> None:
    if not os.read(0, 1):
        asyncio.get_running_loop().remove_reader(0)
        task.cancel()


async def _until_told(question: Question, whom: Addressee, arguments: argparse.Namespace) -> None:
    """Answer, until done or told to stop: the connection is closed first.

    SIGTERM and SIGINT tell it, and the end of whoever asked, however that came: a watch must not
    hold one of the few connections of a PLC for nobody.
    """
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    if task is not None:
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, task.cancel)
        if stat.S_ISFIFO(os.fstat(0).st_mode):
            loop.add_reader(0, _watch_stdin, task)
    try:
        await _answered(question, whom, arguments)
    finally:
        # A signal from here on would find a loop that is being closed, and only make it complain.
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)


async def _answered(question: Question, whom: Addressee, arguments: argparse.Namespace) -> None:
    if arguments.verb == "browse":
        await question.browse(arguments.under)
        return
    wanted = [whom.wanted(text) for text in arguments.addresses]
    if arguments.verb == "guess":
        await question.guess(wanted)
    elif arguments.every is not None:
        await question.watch(wanted, arguments.every, arguments.rounds)
    else:
        await question.read(wanted)


def answer(arguments: argparse.Namespace, tell: Tell = _line) -> int:
    """Answer one question; return the exit code."""
    try:
        whom = addressee(places_of(arguments), arguments.device)
        if arguments.source is not None:
            for found in declared_in(arguments.source, whom.protocol, arguments.db):
                tell(found_told(found))
            return 0
        question = Question(whom, whom.inspect, tell, min(arguments.timeout, TIMEOUT_MAX_S))
        asyncio.run(_until_told(question, whom, arguments))
    except CannotAsk as error:
        refusal = Refusal(kind=error.kind, text=str(error))
    except SourceUnavailable as error:
        refusal = Refusal(kind="unreachable", text=str(error))
    except (asyncio.CancelledError, KeyboardInterrupt):
        return 0  # The usual way to end a watch.
    else:
        return EXIT_OF["usage"] if question.any_wrong else 0
    tell(refusal)
    return EXIT_OF[refusal.kind]


def command() -> None:
    """Answer what the command line asks."""
    # What a library logs is said again, in words, by the error that it leads to.
    logging.disable(logging.CRITICAL)
    parser = argparse.ArgumentParser(prog="python -m collectors.asking", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name in ("read", "guess", "browse"):
        verb = verbs.add_parser(name)
        add_places(verb)
        verb.add_argument("--timeout", type=float, default=10.0, metavar="S")
        if name == "read":
            verb.add_argument("--every", type=float, metavar="S")
            verb.add_argument("--rounds", type=int)
        verb.add_argument("device")
        if name == "browse":
            verb.add_argument("under", nargs="?", default="")
            verb.add_argument("--from", dest="source", type=Path, metavar="FILE")
            verb.add_argument("--db", type=int, metavar="NUMBER")
        else:
            verb.add_argument("addresses", nargs="+")
            verb.set_defaults(under="", source=None)
    arguments = parser.parse_args()
    if arguments.verb != "read":
        arguments.every = None
    try:
        code = answer(arguments)
    except BrokenPipeError:  # Whoever asked is gone.
        code = 0
    sys.stdout.flush()
    sys.exit(code)


if __name__ == "__main__":
    command()
