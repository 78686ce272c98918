"""Goal: every verb of the command is there, although none is loaded before it is used."""

import click
import pytest
from click.testing import CliRunner

from console.__main__ import VERBS, tailrace
from console.trust_verbs import line_of


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"demo"}))  # The demo's help is its own.
def test_each_verb_explains_itself(verb: str) -> None:
    told = CliRunner().invoke(tailrace, [verb, "--help"])

    assert told.exit_code == 0, told.output
    assert f"tailrace {verb}" in told.output


def test_the_list_of_verbs_has_a_sentence_for_each() -> None:
    told = CliRunner().invoke(tailrace, ["--help"], prog_name="tailrace").output
    listed = told[told.index("Commands:") :].splitlines()[1 : len(VERBS) + 1]

    assert [line.split()[0] for line in listed] == sorted(VERBS)
    assert all(len(line.split()) > 2 for line in listed)


def test_a_verb_that_was_never_loaded_is_suggested_all_the_same() -> None:
    """Seen to bite: click alone suggests only what is loaded."""
    told = CliRunner().invoke(tailrace, ["browze"])

    assert told.exit_code == 2
    assert "Did you mean 'browse'?" in told.output


def test_trust_is_left_to_the_room_that_uses_it() -> None:
    group = tailrace.get_command(click.Context(tailrace), "trust")

    assert isinstance(group, click.Group)
    assert sorted(group.commands) == ["accept", "add", "list", "own", "renew", "revoke"]
    assert line_of("accept", "--", "press", "AB:CD")[1:] == [
        *("-m", "collectors.opcua.trust", "accept", "--", "press", "AB:CD")
    ]
