"""A group of verbs, each loaded when it is used: a question to a PLC waits for no other's code."""

from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """A group whose verbs stand in modules of their own."""

    def __init__(self, *args: Any, verbs: dict[str, str], **others: Any) -> None:
        """`verbs`: name → `module:object`."""
        super().__init__(*args, **others)
        self._verbs = verbs

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names; loads nothing."""
        return sorted({*super().list_commands(context), *self._verbs})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return a verb, loading it."""
        if name not in self._verbs:
            return super().get_command(context, name)
        module, _, attribute = self._verbs[name].partition(":")
        verb: click.Command = getattr(import_module(module), attribute)
        return verb

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb that the arguments begin with; click would suggest only loaded ones."""
        try:
            return super().resolve_command(context, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(
                error.command_name, possibilities=self.list_commands(context), ctx=context
            ) from None
