"""The commands with which operators look after orders, by what they do."""

import typer

from adapters.cli import bulk, operate, show

operators = typer.Typer()
for group in (show, operate, bulk):
    operators.add_typer(group.commands)
