"""Where an installation keeps its things: three directories, the same for every process."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

PLACES = (
    ("config", "TAILRACE_CONFIG", "/etc/tailrace", "Configuration: ot/ and it/."),
    ("run", "TAILRACE_RUN", "/run/tailrace", "Sockets, locks and health of what runs."),
    ("data", "TAILRACE_DATA", "/var/lib/tailrace", "The queue, and certificates."),
)
"""Option, environment variable, default and meaning of each."""


@dataclass(frozen=True)
class Places:
    """The three directories of one installation."""

    config_dir: Path
    """ot/ and it/: written by people."""
    run_dir: Path
    """Sockets, locks, health, outboxes: gone after a reboot."""
    data_dir: Path
    """The queue, and what protocols keep (certificates, trust): must outlive everything."""

    @property
    def queue_dir(self) -> Path:
        """The queue's environment."""
        return self.data_dir / "queue"

    @classmethod
    def parse(cls, parser: argparse.ArgumentParser, arguments: list[str] | None = None) -> "Places":
        """Add --config, --run and --data to a parser that has nothing else, and parse."""
        add_places(parser)
        return places_of(parser.parse_args(arguments))


def add_places(parser: argparse.ArgumentParser) -> None:
    """Add --config, --run and --data; each has an environment variable as its default."""
    for name, variable, default, text in PLACES:
        parser.add_argument(
            f"--{name}",
            metavar="DIR",
            default=os.environ.get(variable, default),
            help=f"{text} Default: ${variable} or {default}",
        )


def places_of(arguments: argparse.Namespace) -> Places:
    """Return the directories that were parsed, made absolute."""
    return Places(
        Path(arguments.config).resolve(),
        Path(arguments.run).resolve(),
        Path(arguments.data).resolve(),
    )
