"""Tables that fit a terminal: ids, amounts and states stay whole on one line. Where there is no room, columns go in
an order that the caller gives, and text wraps between words."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len, chop_cells

TEXT_COLUMNS: Final = frozenset({"also", "detail", "last answer", "next step", "note", "operator", "reason"})
"""Names of columns whose cells may wrap."""
_GAP: Final = "  "
_MIN_TEXT_CELLS: Final = 24
_MAX_TOKEN_CELLS: Final = 40
"""What is longer (a buyer's name without a space) is broken in a text; a UUID isn't."""
_TOKEN: Final = re.compile(r"\s+|[\w.\-]+|[^\s\w]")


@dataclass(frozen=True, slots=True)
class FittedTable:
    """Lines of the same width at most; `dropped` are the columns for which there was no room."""

    head: str
    rows: Sequence[str]
    dropped: Sequence[str]


def fitted(
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    width: int,
    *,
    right: Collection[str] = (),
    drop: Sequence[str] = (),
) -> FittedTable | None:
    """`drop` are the columns that may go, the first one first. None: not even without them is there room."""
    kept = list(columns)
    by_name = {name: [row[place] for row in cells] for place, name in enumerate(columns)}
    going = [name for name in drop if name in by_name]
    dropped = []
    while sum(_least(name, by_name[name]) for name in kept) + len(_GAP) * (len(kept) - 1) > width:
        if not going:
            return None
        kept.remove(going[0])
        dropped.append(going.pop(0))
    widths = _widths(kept, by_name, width)
    rows = [
        line
        for row in zip(*(by_name[name] for name in kept), strict=True)
        for line in _lines(row, kept, widths, right)
    ]
    return FittedTable(_line(kept, kept, widths, right), rows, dropped)


def wrapped(text: str, width: int) -> list[str]:
    """Between words and signs; a number, a name or an id stays whole unless it is wider than the line."""
    lines, line = [], ""
    for token in _TOKEN.findall(text):
        part = token
        while part:
            if cell_len(line) + cell_len(part) <= width:
                line += part
                break
            if line:
                lines.append(line.rstrip())
                line, part = "", part.lstrip()
                continue
            first, *others = chop_cells(part, width)
            lines.append(first)
            part = "".join(others)
    return [*lines, line.rstrip()] if line.strip() or not lines else lines


def _least(name: str, cells: Sequence[str]) -> int:
    """The cells that a column needs."""
    if name not in TEXT_COLUMNS:
        return _natural(name, cells)
    longest = max((cell_len(token) for text in cells for token in _TOKEN.findall(text)), default=0)
    return max(cell_len(name), min(_natural(name, cells), max(_MIN_TEXT_CELLS, min(longest, _MAX_TOKEN_CELLS))))


def _natural(name: str, cells: Sequence[str]) -> int:
    return max(map(cell_len, (name, *cells)))


def _widths(kept: Sequence[str], by_name: dict[str, list[str]], width: int) -> list[int]:
    """What is left over goes to the texts, the first one first."""
    widths = {name: _least(name, by_name[name]) for name in kept}
    spare = width - sum(widths.values()) - len(_GAP) * (len(kept) - 1)
    for name in kept:
        more = min(spare, _natural(name, by_name[name]) - widths[name])
        widths[name] += more
        spare -= more
    return list(widths.values())


def _lines(
    row: Sequence[str], names: Sequence[str], widths: Sequence[int], right: Collection[str]
) -> Iterator[str]:
    parts = [
        wrapped(text, width) if name in TEXT_COLUMNS else [text]
        for text, name, width in zip(row, names, widths, strict=True)
    ]
    for number in range(max(map(len, parts), default=0)):
        yield _line([part[number] if number < len(part) else "" for part in parts], names, widths, right)


def _line(texts: Sequence[str], names: Sequence[str], widths: Sequence[int], right: Collection[str]) -> str:
    padded = []
    for text, name, width in zip(texts, names, widths, strict=True):
        spaces = " " * (width - cell_len(text))
        padded.append(spaces + text if name in right else text + spaces)
    return _GAP.join(padded).rstrip()
