"""Cursors of pages: where the next page begins. Opaque to the caller, and of no use for another list."""

import re
from collections.abc import Sequence
from typing import TypeVar

from starlette.exceptions import HTTPException

Row = TypeVar("Row")


def cursor_pattern(kind: str) -> str:
    """A number of up to 63 bits."""
    return rf"^{kind}-[0-7][0-9a-f]{{15}}$"


def read_cursor(kind: str, cursor: str | None) -> int | None:
    """The id at which the page begins; None for the first page. A cursor that isn't ours is a 400."""
    if cursor is None:
        return None
    if re.fullmatch(cursor_pattern(kind), cursor) is None:
        raise HTTPException(400, "query.cursor: not a cursor of this list")
    return int(cursor.removeprefix(f"{kind}-"), 16)


def write_cursor(kind: str, start: int) -> str:
    return f"{kind}-{start:016x}"


def cut_page(rows: Sequence[Row], limit: int) -> tuple[Sequence[Row], Row | None]:
    """Of `limit + 1` rows the page, and its last row if another page follows."""
    return rows[:limit], rows[limit - 1] if len(rows) > limit else None
