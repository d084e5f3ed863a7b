"""The list of all commands, by what they are for. Plain text: what draws frames takes too long to load for help."""

from itertools import groupby
from typing import Any

from typer.core import TyperCommand, TyperGroup


class CommandPanels(TyperGroup):
    """Groups commands by their `rich_help_panel`, in the order in which they are defined."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """With the whole sentence that says what each does."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        shown = [(name, command) for name, command in commands if isinstance(command, TyperCommand)]
        for panel, group in groupby(shown, lambda each: each[1].rich_help_panel):
            with formatter.section(panel):
                formatter.write_dl([(name, _sentence(command.help or "")) for name, command in group])


def _sentence(text: str) -> str:
    return " ".join(text.split("\n\n", maxsplit=1)[0].split())
