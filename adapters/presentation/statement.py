"""The day's statement as JSON, as rows, and as CSV. Amounts have the decimals of the currency's minor unit."""

import csv
import io
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Final, cast

from adapters.presentation.schemas import AmountsView, BalanceView, CountsView, LineName, StatementView
from adapters.records.statement import Account, Amounts, Balance, Statement
from domain.money import ZERO, Till

CSV_TYPE: Final = "text/csv; charset=utf-8"
COUNTED: Final = (Account.OPEN, Account.OWED, Account.HELD, Account.IN_DOUBT, Account.SKIPPED)
"""The accounts whose orders are counted: of what was credited the number would only grow."""


def statement_view(statement: Statement, till: Till) -> StatementView:
    return {
        "day": statement.day,
        "currency": till.currency,
        "closed": statement.is_closed,
        "opening": _balance_view(statement.opening, till),
        "entries": [
            {
                "line": cast("LineName", _member(entry.line)),
                "number": entry.number,
                "amounts": _amounts_view(entry.amounts, till),
            }
            for entry in statement.entries
        ],
        "closing": _balance_view(statement.closing, till),
        "different": {
            "orders": statement.different.orders,
            "ours": in_minor_units(statement.different.ours, till),
            "theirs": in_minor_units(statement.different.theirs, till),
        },
        "creditedByThirdParty": in_minor_units(statement.credited_there, till),
    }


def statement_rows(statement: Statement, till: Till) -> Iterator[tuple[str, int | None, Sequence[Decimal]]]:
    """Name, number, and the amount in each account: what the day began with, what moved, what it ended with."""
    yield "opening", None, _columns(statement.opening.amounts, till)
    for entry in statement.entries:
        yield entry.line, entry.number, _columns(entry.amounts, till)
    yield "closing", None, _columns(statement.closing.amounts, till)


def statement_csv(statement: Statement, till: Till) -> str:
    """A line for each row, with names above; RFC 4180."""
    written = io.StringIO()
    lines = csv.writer(written)
    lines.writerow(["day", "currency", "line", "number", *Account])
    for name, number, amounts in statement_rows(statement, till):
        lines.writerow([statement.day, till.currency, name, number, *(f"{each:f}" for each in amounts)])
    return written.getvalue()


def file_name(statement: Statement, ending: str) -> str:
    return f"statement-{statement.day}.{ending}"


def in_minor_units(amount: Decimal, till: Till) -> Decimal:
    """As it is, with the currency's decimals; one of another currency's time keeps its own."""
    exponent = amount.normalize().as_tuple().exponent
    fits = isinstance(exponent, int) and -exponent <= till.decimals
    return amount.quantize(till.minor_unit) if fits else amount


def _columns(amounts: Amounts, till: Till) -> list[Decimal]:
    return [in_minor_units(amounts.get(account, ZERO), till) for account in Account]


def _amounts_view(amounts: Amounts, till: Till) -> AmountsView:
    named: Any = {_member(account): in_minor_units(amounts.get(account, ZERO), till) for account in Account}
    return cast("AmountsView", named)


def _balance_view(balance: Balance, till: Till) -> BalanceView:
    orders: Any = {_member(account): balance.orders.get(account, 0) for account in COUNTED}
    return {"amounts": _amounts_view(balance.amounts, till), "orders": cast("CountsView", orders)}


def _member(name: str) -> str:
    """As JSON writes it: `inDoubt`."""
    first, *more = name.split("_")
    return first + "".join(word.capitalize() for word in more)
