"""The command `order`: all about one order, as the API shows it."""

from adapters.command_line import output
from adapters.command_line.asking import ask_database
from adapters.command_line.order_text import show_order
from adapters.postgres.queries import PostgresQueries
from adapters.refusals import UnknownOrder
from adapters.web.order_view import order_view
from domain.money import Till


def run_order(url: str, order_id: int, till: Till, *, as_json: bool) -> int:
    """Answers the exit code. Raises UnknownOrder."""
    record = ask_database(url, lambda database: PostgresQueries(database).order(order_id))
    if record is None:
        raise UnknownOrder(order_id)
    view = order_view(record)
    if as_json:
        output.print_json(view)
    else:
        show_order(view, record, till)
    return 0
