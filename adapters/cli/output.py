"""How commands answer: tables for people, lines without frames and colours in a pipe, or one JSON document."""

import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from adapters.cli.terminal_table import fitted
from adapters.presentation.formatting import NOTHING, nanoseconds_of
from adapters.presentation.printable import visible
from domain.exact_json import dumps
from domain.instants import NANOSECONDS_PER_SECOND

_GAP: Final = "  "


def print_json(document: Any) -> None:
    """One document, on one line, with exact decimals."""
    sys.stdout.flush()
    sys.stdout.buffer.write(dumps(document) + b"\n")
    sys.stdout.buffer.flush()


def say(line: str = "", style: str = "") -> None:
    """One line, however long; `style` counts on a terminal only."""
    _console().print(Text(visible(line), style))


def remark(line: str) -> None:
    """On the standard error stream: a pipe gets rows and nothing else."""
    sys.stdout.flush()
    Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False).print(Text(line, "dim"))


def facts(rows: Iterable[tuple[str, object]]) -> None:
    """Names and what they are, below one another; those that are None or empty are left out."""
    known = [(name, str(value)) for name, value in rows if value is not None and value != ""]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        say(f"{_GAP}{name.ljust(width)}{_GAP}{value}")


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Collection[str] = (),
    title: str = "",
    drop: Sequence[str] = (),
) -> None:
    """None is shown as a dash. In a pipe there is always the line of names, and columns are two spaces apart; on a
    terminal those of `drop` go, the first one first, where there is no room for all."""
    cells = [[NOTHING if value is None else visible(str(value)) for value in row] for row in rows]
    if title:
        say(title, "bold")
    if sys.stdout.isatty():
        _show_on_terminal(columns, cells, right, drop)
        return
    whole = fitted(columns, cells, sys.maxsize, right=right)
    for line in (whole.head, *whole.rows) if whole else ():
        say(line)


def _show_on_terminal(
    columns: Sequence[str], cells: Sequence[Sequence[str]], right: Collection[str], drop: Sequence[str]
) -> None:
    if not cells:
        say(f"{_GAP}none", "dim")
        return
    width = _console().width
    shown = fitted(columns, cells, width, right=right, drop=drop)
    if shown is None:  # row by row, one value below the other
        for row in cells:
            facts(zip(columns, row, strict=True))
            say()
        return
    say(shown.head, "bold")
    say("─" * min(width, max(map(cell_len, (shown.head, *shown.rows)))), "dim")
    for line in shown.rows:
        say(line)
    if shown.dropped:
        remark(f"no room for: {', '.join(shown.dropped)}; a wider window, a pipe or --json has them")


def moment(value: datetime | str | int | None) -> str:
    """To the second, in UTC; a text is RFC 3339, a number nanoseconds since 1970."""
    if value is None:
        return NOTHING
    shown = datetime.fromtimestamp(nanoseconds_of(value) // NANOSECONDS_PER_SECOND, UTC)
    return f"{shown:%Y-%m-%d %H:%M:%SZ}"


def _console() -> Console:
    """Lines are as long as they are: ids and tokens are there to be copied."""
    return Console(soft_wrap=True, highlight=False, markup=False, emoji=False)


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
