"""Cursors of pages: where the next page begins. Opaque to the caller, and of no use for another list."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Generic, TypeVar

from adapters.records.audit import ActionRow
from adapters.records.calls import ParkedRow
from adapters.records.differences import DifferenceRow
from adapters.records.jobs import Job
from adapters.records.money_may_be_wrong import KINDS, Case, CasePlace, CaseSort
from adapters.records.quarantine import QuarantineRow
from domain.errors import CashbackError
from projections.orders import OrderRow

Row = TypeVar("Row")


class BadCursor(CashbackError, ValueError):
    """A text isn't the cursor of a page of this list."""


PLACE_PATTERN: Final = (
    r"^money-may-be-wrong-(amount-[0-9]{1,400}(\.[0-9]{1,400})?|age-([0-9]{1,18}|[1-8][0-9]{18})"
    rf")-[0-{len(KINDS) - 1}]-[0-7][0-9a-f]{{15}}$"
)
"""Of a list that isn't in the order of ids: the amount or the age, the kind of case, the order."""


def cursor_pattern(kind: str) -> str:
    """A number of up to 63 bits."""
    return rf"^{kind}-[0-7][0-9a-f]{{15}}$"


def _cut(rows: Sequence[Row], limit: int) -> tuple[Sequence[Row], Row | None]:
    """Of `limit + 1` rows the page, and its last row if another page follows."""
    return rows[:limit], rows[limit - 1] if len(rows) > limit else None


@dataclass(frozen=True)  # with slots a generic one can't be made
class Paging(Generic[Row]):
    """A list in pages, ordered by an id. `kind` begins its cursors."""

    kind: str
    following: Callable[[Row], int]
    """The id at which the page behind a row begins."""

    def start(self, cursor: str | None) -> int | None:
        """The id at which the page begins; None for the first page. Raises BadCursor."""
        if cursor is None:
            return None
        if re.fullmatch(cursor_pattern(self.kind), cursor) is None:
            raise BadCursor
        return int(cursor.removeprefix(f"{self.kind}-"), 16)

    def cut(self, rows: Sequence[Row], limit: int) -> tuple[Sequence[Row], str | None]:
        """Of `limit + 1` rows the page, and the cursor of the next one if there is one."""
        page, last = _cut(rows, limit)
        return page, None if last is None else f"{self.kind}-{self.following(last):016x}"


ORDERS: Final = Paging[OrderRow]("orders", lambda row: row.order_id - 1)
PARKED: Final = Paging[ParkedRow]("parked", lambda row: row.order_id + 1)
QUARANTINE: Final = Paging[QuarantineRow]("quarantine", lambda row: row.id - 1)
ACTIONS: Final = Paging[ActionRow]("audit", lambda row: row.id - 1)
DIFFERENCES: Final = Paging[DifferenceRow]("reconciliation", lambda row: row.id - 1)
REPLAYS: Final = Paging[Job]("replays", lambda job: job.number - 1)
COMPARISONS: Final = Paging("comparisons", REPLAYS.following)
JOBS: Final = Paging("jobs", REPLAYS.following)


def read_place(cursor: str | None) -> CasePlace | None:
    """The case behind which the page begins; None for the first page. Raises BadCursor."""
    if cursor is None:
        return None
    if re.fullmatch(PLACE_PATTERN, cursor) is None:
        raise BadCursor
    sort, key, rank, order_id = cursor.split("-")[-4:]
    return CasePlace(CaseSort(sort), Decimal(key), int(order_id, 16), KINDS[int(rank)])


def cut_cases(rows: Sequence[Case], limit: int, sort: CaseSort) -> tuple[Sequence[Case], str | None]:
    """Of `limit + 1` cases the page, and the cursor of the next one if there is one."""
    page, last = _cut(rows, limit)
    return page, None if last is None else write_place(last.place(sort))


def write_place(place: CasePlace) -> str:
    rank = KINDS.index(place.kind)
    return f"money-may-be-wrong-{place.sort}-{place.key:f}-{rank}-{place.order_id:016x}"
