"""The commands with which operators look after orders, by what they do."""

import typer

from adapters.command_line.looking import looking
from adapters.command_line.many import many
from adapters.command_line.mending import mending

operators = typer.Typer()
for group in (looking, mending, many):
    operators.add_typer(group)
