"""The bar that long commands show, on the standard error stream: their answer is on the other one."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def progress_bar(doing: str, what: str, *more: ProgressColumn) -> Progress:
    """`doing` so many of so many `what`."""
    counted = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TextColumn(what))
    return Progress(*counted, TimeElapsedColumn(), TimeRemainingColumn(), *more, console=Console(stderr=True))
