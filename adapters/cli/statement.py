"""The command `statement`: what moved on one day, as double entry."""

import sys
from datetime import date

from adapters.cli import output
from adapters.cli.database import ask_database
from adapters.postgres.pool import Database
from adapters.postgres.statement import PostgresStatements
from adapters.presentation.formatting import amount, words
from adapters.presentation.statement import COUNTED, statement_csv, statement_rows, statement_view
from adapters.records.statement import Account, Statement
from domain.money import Till


def run_statement(url: str, day: date | None, till: Till, *, as_json: bool, as_csv: bool) -> int:
    """Of the last day that is over, unless another one is named. Answers the exit code: 1 if it doesn't hold
    together. Raises DayNotBegun."""

    async def ask(database: Database) -> Statement:
        statements = PostgresStatements(database)
        return await statements.statement(day or await statements.last_day())

    statement = ask_database(url, ask)
    if as_json:
        output.print_json(statement_view(statement, till))
    elif as_csv:
        sys.stdout.write(statement_csv(statement, till))
    else:
        _show(statement, till)
    for fault in statement.faults:
        output.remark(f"the statement doesn't hold together: {fault}")
    return 1 if statement.faults else 0


def _show(statement: Statement, till: Till) -> None:
    state = "closed" if statement.is_closed else "not closed yet"
    output.say(f"{statement.day} (UTC), in {till.currency}: {state}", "bold")
    columns = ("", "number", *map(words, Account))
    rows = (
        (words(name), number, *(amount(each) for each in amounts))
        for name, number, amounts in statement_rows(statement, till)
    )
    output.table(columns, rows, right=columns[1:])
    orders = statement.closing.orders
    different = statement.different
    there, here = amount(different.theirs), amount(different.ours)
    counts = ", ".join(f"{orders.get(each, 0)} {words(each)}" for each in COUNTED)
    output.facts(
        (
            ("orders at its end", counts),
            ("different", f"{output.counted(different.orders, 'order')}: {there} credited there, {here} here"),
            ("credited by the third party", amount(statement.credited_there)),
        )
    )
