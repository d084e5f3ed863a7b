"""The commands with which operators look after orders, by what they do."""

import typer

from adapters.cli.bulk import many
from adapters.cli.operate import mending
from adapters.cli.show import looking

operators = typer.Typer()
for group in (looking, mending, many):
    operators.add_typer(group)
