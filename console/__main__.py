"""The `tailrace` command.

Everywhere: results on standard output, messages on standard error; exit codes 0 ok, 1 something
was found, 2 wrong usage, 3 nothing could be reached.
"""

import importlib.metadata
import os

import click

from console.lazy import LazyGroup

VERBS = {
    "browse": "console.browse_verb:browse",
    "check": "console.check_verbs:check",
    "demo": "console.demo_verb:demo",
    "explain": "console.explain_verb:explain",
    "queue": "console.queue_verbs:queue",
    "read": "console.read_verb:read",
    "record": "console.record_verb:record",
    "reload": "console.reload_verb:reload_",
    "replay": "console.replay_verb:replay",
    "run": "console.check_verbs:run",
    "set-aside": "console.set_aside_verbs:set_aside",
    "status": "console.status_verb:status",
    "tap": "console.tap_verb:tap",
    "test": "console.tagtest_verb:test",
    "trust": "console.trust_verbs:trust",
    "verify": "console.verify_verb:verify",
}


def _version() -> str:
    try:
        return importlib.metadata.version("tailrace")
    except importlib.metadata.PackageNotFoundError:
        return "not installed, run from its checkout"


@click.group(cls=LazyGroup, verbs=VERBS, epilog="Begin with: tailrace demo")
@click.version_option(_version(), prog_name="tailrace")
@click.pass_context
def tailrace(context: click.Context) -> None:
    """From the shop floor to the enterprise: initiates outbound only, accepts no connections."""
    if os.environ.get("NO_COLOR"):
        context.color = False


def main() -> None:
    """Entry point of the `tailrace` script."""
    tailrace(prog_name="tailrace")


if __name__ == "__main__":
    main()
