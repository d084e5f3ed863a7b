"""The list of orders whose money may be wrong, from the tables that know the reasons.

Each kind of case goes along its own index, from the place at which the page begins; only what can be on the page is
put together.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from adapters.postgres.pool import Connection, Database
from adapters.postgres.sql import completed, statements
from adapters.records.money_may_be_wrong import (
    DEFAULT_LIMITS,
    KINDS,
    SECONDS_PER_DAY,
    Case,
    CaseKind,
    CaseLimits,
    CasePlace,
    CaseSort,
    CaseTotal,
    Totals,
)
from domain.instants import NANOSECONDS_PER_SECOND

MAX_COUNTED: Final = 10_000
"""Of each kind; one more stands for: more than that."""

_SQL: Final = statements("money_may_be_wrong")
_ORDER: Final = {
    CaseSort.AMOUNT: "amount_key DESC, order_id DESC, rank DESC",
    CaseSort.AGE: "since_key, order_id, rank",
}
_KEY: Final = {CaseSort.AMOUNT: "amount_key", CaseSort.AGE: "since_key"}
_AFTER: Final = {CaseSort.AMOUNT: "<", CaseSort.AGE: ">"}
_TYPE: Final = {CaseSort.AMOUNT: "numeric", CaseSort.AGE: "bigint"}


class PostgresMoneyMayBeWrong:
    """Every method raises domain.ports.StoreUnavailable in an outage."""

    def __init__(self, database: Database, limits: CaseLimits = DEFAULT_LIMITS) -> None:
        self._database = database
        self._limits = limits

    async def page(self, kind: CaseKind | None, sort: CaseSort, after: CasePlace | None, limit: int) -> list[Case]:
        """The cases behind a place, of all kinds unless one is asked for."""
        statement, parameters = page_statement(kind, sort, after, limit, self._limits)
        async with self._database.connection() as connection:
            return [_case(row) async for row in await connection.execute(statement, parameters)]

    async def totals(self) -> Totals:
        """Each kind's, MAX_COUNTED + 1 cases at most."""
        async with self._database.connection() as connection:
            return await totals(connection, self._limits)


async def totals(connection: Connection, limits: CaseLimits) -> Totals:
    cases = _union(f"{_ranked(kind)} LIMIT %(limit)s" for kind in KINDS)
    parameters = _parameters(limits) | {"limit": MAX_COUNTED + 1}
    cursor = await connection.execute(completed(_SQL["totals"], cases=cases), parameters)
    found = {KINDS[rank]: CaseTotal(number, amount) async for rank, number, amount in cursor}
    return {kind: found.get(kind, CaseTotal()) for kind in KINDS}


def page_statement(
    kind: CaseKind | None, sort: CaseSort, after: CasePlace | None, limit: int, limits: CaseLimits
) -> tuple[str, dict[str, Any]]:
    """What is asked of the database for a page, and the parameters."""
    kinds = KINDS if kind is None else (kind,)
    cases = _union(
        f"{_ranked(each)} {_behind(each, sort, after)} ORDER BY {_ORDER[sort]} LIMIT %(limit)s" for each in kinds
    )
    statement = completed(_SQL["page"], cases=cases, order=_ORDER[sort])
    parameters = _parameters(limits) | {"limit": limit}
    if after is not None:
        parameters |= {"key": after.key if sort is CaseSort.AMOUNT else int(after.key), "order_id": after.order_id}
    return statement, parameters


def _ranked(kind: CaseKind) -> str:
    return completed(_SQL["ranked"], rank=str(KINDS.index(kind)), kind=_SQL[kind])


def _behind(kind: CaseKind, sort: CaseSort, after: CasePlace | None) -> str:
    """Of two cases with the same key and the same order their kinds tell which comes first."""
    if after is None:
        return ""
    own, other = KINDS.index(kind), KINDS.index(after.kind)
    is_behind = own < other if sort is CaseSort.AMOUNT else own > other
    operator = _AFTER[sort] + ("=" if is_behind else "")
    return f"WHERE ({_KEY[sort]}, order_id) {operator} (%(key)s::{_TYPE[sort]}, %(order_id)s::bigint)"


def _union(branches: Iterable[str]) -> str:
    return " UNION ALL ".join(f"({branch})" for branch in branches)


def _parameters(limits: CaseLimits) -> dict[str, Any]:
    return {
        "held_ns": int(limits.held_seconds * NANOSECONDS_PER_SECOND),
        "pending_ns": int(limits.pending_days * SECONDS_PER_DAY * NANOSECONDS_PER_SECOND),
    }


def _case(row: Sequence[Any]) -> Case:
    rank, order_id, _, since_key, amount, detail, quarantine_id, ranks = row
    return Case(
        kind=KINDS[rank],
        order_id=order_id,
        amount=amount,
        since_ns=since_key or None,
        detail=detail,
        quarantine_id=quarantine_id,
        kinds=tuple([KINDS[each] for each in ranks]),
    )
