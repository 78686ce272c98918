"""A question to a device, asked by a process of the collectors room and told here as it comes."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click
import msgspec

from common.answers import BROWSING, EXIT_OF, Busy, Lost, Refusal, Told, decode
from common.clock import now_ns
from common.errors import TailraceError
from common.health import STALE_S, read_health
from common.places import Places
from console.accounts import CollectorAccount, account
from console.exits import EXIT_FOUND, EXIT_UNREACHABLE
from console.notation import printable
from console.rooms import command, environment

ROOM = "collectors.asking"
GOODBYE_S = 5.0
"""How long the process may take to close its connection before it is killed."""

_OK = (0, EXIT_OF["usage"])
"""Of a process that told everything it had; `usage` when an address was wrong, which it told."""


class NoAnswer(TailraceError):
    """The question was refused, or its process failed; the text says what to do next."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


@contextmanager
def answers(
    places: Places, verb: str, options: Sequence[str], device: str, words: Sequence[str]
) -> Iterator[Iterator[Told]]:
    """Ask for the length of the block; what is told may be taken as slowly as one likes.

    Iterating and the end of the block raise NoAnswer.
    """
    line = command(ROOM, [verb, *options, "--", device, *words])
    try:
        with told_by(line, environment(places)) as told:
            yield told
    except NoAnswer as error:
        hint = held_by_us(places, device) if error.code == EXIT_UNREACHABLE else ""
        raise NoAnswer(f"{error}{hint}", error.code) from error


@contextmanager
def told_by(line: list[str], variables: dict[str, str]) -> Iterator[Iterator[Told]]:
    """Start a process, and yield what it tells. It ends with the block.

    Iterating raises NoAnswer, at a refusal and when the process ends in any other way than well.
    """
    process = subprocess.Popen(line, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield _told(process)
    finally:
        process.terminate()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(GOODBYE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _told(process: subprocess.Popen[bytes]) -> Iterator[Told]:
    waiting = Waiting()
    for line in process.stdout or ():
        try:
            told = decode(line)
        except msgspec.DecodeError as error:
            text = f"the collectors said what the console does not understand: {error}"
            raise NoAnswer(text, EXIT_FOUND) from error
        waiting.show(told)
        if isinstance(told, Refusal):
            raise NoAnswer(_lines(told.text), EXIT_OF[told.kind])
        if isinstance(told, Lost):
            click.echo(f"connection lost: {printable(told.text)}; trying again", err=True)
        else:
            yield told
    waiting.clear()
    code = process.wait()
    if code not in _OK:
        text = f"the question itself failed, exit code {code}: this is a bug, please report it"
        raise NoAnswer(f"{text} with what stands above", EXIT_FOUND)


def _lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.splitlines())


def held_by_us(places: Places, device: str) -> str:
    """Return a hint when the running gateway reads the device well that a question cannot reach."""
    for health in read_health(places.run_dir).values():
        told = account(health, CollectorAccount).devices.get(device)
        if told and told.state == "good" and now_ns() - health.at_ns < STALE_S * 1e9:
            text = f"The running gateway reads {device} at this moment"
            why = "the device may allow no second connection. Its values: tailrace tap"
            return f"\n{text}; {why}"
    return ""


class Waiting:
    """One line on a terminal's standard error for as long as there is nothing to show."""

    def __init__(self) -> None:
        self._shown = False
        self._counted = 0

    def show(self, told: Told) -> None:
        """Say what is waited for, or take it away."""
        if not isinstance(told, Busy):
            self._counted += 1
            self.clear()
        elif sys.stderr.isatty() and not (told.doing == BROWSING and sys.stdout.isatty()):
            # Where the rows themselves are seen to come, a count would stand in their way.
            found = f", {self._counted - 1:,} found" if told.doing == BROWSING else ""
            text = f"\r\033[K{printable(told.doing)}, {told.for_s:.1f} s{found}"
            click.echo(text, err=True, nl=False)
            self._shown = True

    def clear(self) -> None:
        """Leave nothing of it on the terminal."""
        if self._shown:
            click.echo("\r\033[K", err=True, nl=False)
            self._shown = False
