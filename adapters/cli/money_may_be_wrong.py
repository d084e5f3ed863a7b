"""The command `money-may-be-wrong`: the same list as the API's and the console's."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from adapters.cli import output
from adapters.cli.database import ask_database
from adapters.cli.lists import ListRequest
from adapters.postgres.money_may_be_wrong import PostgresMoneyMayBeWrong
from adapters.presentation.formatting import age, amount
from adapters.presentation.paging import BadCursor, cut_cases, read_place
from adapters.presentation.views import case_view
from adapters.records.money_may_be_wrong import Case, CaseKind, CaseLimits, CaseSort, next_step
from domain.errors import BadSetting

_COLUMNS: Final = ("order", "why", "at stake", "for", "also", "detail", "next step")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which cases, in which order."""

    kind: CaseKind | None
    sort: CaseSort


def run_money_may_be_wrong(url: str, limits: CaseLimits, choice: Choice, request: ListRequest) -> int:
    """Answers the exit code: 0, whatever is on the list. Raises BadSetting for a place of another list."""
    try:
        place = read_place(request.after)
    except BadCursor:
        raise BadSetting(
            f"--after is {(request.after or '')[:50]!r}: must be the `next` of a page of this list"
        ) from None
    sort = place.sort if place else choice.sort
    rows = ask_database(
        url,
        lambda database: PostgresMoneyMayBeWrong(database, limits).page(
            choice.kind, sort, place, request.limit + 1
        ),
    )
    page, following = cut_cases(rows, request.limit, sort)
    if request.as_json:
        output.print_json({"cases": [case_view(each) for each in page], "next": following})
        return 0
    now = datetime.now(UTC)
    drop = ("also", "detail", "for", "next step")
    output.table(_COLUMNS, (_cells(each, now) for each in page), right={"order", "at stake"}, drop=drop)
    if following:
        output.remark(f"more: --after {following}")
    return 0


def _cells(case: Case, now: datetime) -> Sequence[object]:
    also = ", ".join(each for each in case.kinds if each is not case.kind) or None
    known = case.order_id, case.kind, amount(case.amount), age(case.since_ns, now)
    return *known, also, case.detail, next_step(case).command
