"""Losses that a person has accepted: positions move, and the reason is kept, in one transaction."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg.rows import DictRow, dict_row

from adapters.postgres.connections import BoundedConnection, conninfo, reason_of
from adapters.postgres.event_store import LOCK_TIMEOUT_SECONDS, position_of
from adapters.postgres.sql import statements
from domain.ports import Fenced, Loss, Partition, Position, StoreUnavailable

_INTAKE: Final = statements("intake")
_LOSSES: Final = statements("losses")


@dataclass(frozen=True, slots=True)
class Move:
    """A position moves from one log to another, or within one. No log after: it is dropped."""

    loss: Loss
    before: Partition
    position: int | None
    after: Partition | None
    next_offset: int | None


def read_positions(database_url: str, topic: str) -> dict[Partition, Position]:
    """In all topics of this name, the last one moved last. Raises StoreUnavailable."""
    with _connected(database_url) as connection:
        return dict(map(position_of, connection.execute(_INTAKE["select_positions"], ([topic],))))


def store_moves(database_url: str, moves: Iterable[Move], reason: str) -> None:
    """All or none. Raises Fenced if a position isn't any more where it was found, or StoreUnavailable."""
    with _connected(database_url) as connection:
        connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
        for move in moves:
            if connection.execute(_LOSSES[_statement(move)], _columns(move)).rowcount != 1:
                name = f"{move.before.topic}/{move.before.number}"
                raise Fenced(f"the position in {name} has moved meanwhile: nothing was done, look again")
            connection.execute(_LOSSES["insert_accepted_loss"], {**_columns(move), "reason": reason})


def _statement(move: Move) -> str:
    if move.after is None:
        return "drop_position"
    return "make_position" if move.loss is Loss.TOPIC_RECREATED else "move_position"


def _columns(move: Move) -> dict[str, Any]:
    return {
        "topic": move.before.topic,
        "partition": move.before.number,
        "error": move.loss,
        "topic_id": move.before.topic_id,
        "position": move.position,
        "topic_id_after": move.after and move.after.topic_id,
        "position_after": move.next_offset,
    }


@contextmanager
def _connected(database_url: str) -> Iterator[psycopg.Connection[DictRow]]:
    """One transaction."""
    try:
        with BoundedConnection[DictRow].connect(
            conninfo(database_url, application_name="cashback-losses"),
            row_factory=dict_row,
        ) as connection:
            yield connection
    except psycopg.Error as error:
        raise StoreUnavailable(f"the event store doesn't answer: {reason_of(error)}") from error
