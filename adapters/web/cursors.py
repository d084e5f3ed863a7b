"""Cursors of pages: where the next page begins. Opaque to the caller, and of no use for another list."""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import TypeVar

from starlette.exceptions import HTTPException

from domain.identifiers import MAX_ORDER_ID

Row = TypeVar("Row")


def read_cursor(kind: str, cursor: str | None) -> int | None:
    """The id at which the page begins; None for the first page. A cursor that isn't ours is a 400."""
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, UnicodeError):
        text = ""
    found = re.fullmatch(rf"{kind}:(\d{{1,19}}) {{0,2}}", text, re.ASCII)
    if found is None or int(found[1]) > MAX_ORDER_ID:
        raise HTTPException(400, "query.cursor: not a cursor of this list")
    return int(found[1])


def write_cursor(kind: str, start: int) -> str:
    # Filled up with spaces: base64 without padding needn't be escaped in an address.
    text = f"{kind}:{start}"
    return base64.urlsafe_b64encode(text.ljust(-(-len(text) // 3) * 3).encode()).decode()


def cut_page(rows: Sequence[Row], limit: int) -> tuple[Sequence[Row], Row | None]:
    """Of `limit + 1` rows the page, and its last row if another page follows."""
    return rows[:limit], rows[limit - 1] if len(rows) > limit else None
