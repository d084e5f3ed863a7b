"""What keeps a server from its work for a while, and is taken away again."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from signal import SIGCONT, SIGSTOP, Signals

import psycopg

from tests.support.waiting import children_of


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """The process and its children stand still."""
    pids = [pid, *children_of(pid)]

    def tell(number: Signals) -> None:
        for each in pids:
            with suppress(ProcessLookupError):  # a child that was at its end
                os.kill(each, number)

    tell(SIGSTOP)
    try:
        yield
    finally:
        tell(SIGCONT)


@contextmanager
def setting(url: str, statement: str, undo: str) -> Iterator[None]:
    """From the next connection on, and all that there are end."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        cut = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        )
        connection.execute(statement)
        connection.execute(cut, (connection.info.dbname,))
        try:
            yield
        finally:
            connection.execute(undo)
