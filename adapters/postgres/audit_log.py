"""The record of what people did: written with the action, read by people."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from psycopg import Cursor
from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from adapters.postgres.pool import Connection, Database
from adapters.postgres.sql import completed, statements
from adapters.records.actions import Action
from adapters.records.audit import ActionRow
from adapters.records.errors import AnswerLost
from adapters.records.operators import ActionKind, Role, Via
from domain.exact_json import dumps, loads
from domain.identifiers import MAX_ORDER_ID

_SQL: Final = statements("actions")
INSERT_ACTIONS: Final = _SQL["insert_actions"]
"""With `action_columns`, for those who have a cursor of another kind."""
_ONCE_A_REQUEST: Final = "operator_action_of_request"


class PostgresActions:
    """Raises domain.ports.StoreUnavailable in an outage."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, order_id: int | None, start: int | None, limit: int) -> list[ActionRow]:
        """From the id `start` downwards; from the last one without it."""
        async with self._database.connection() as connection:
            return await actions_of(connection, order_id, start, limit)


async def actions_of(
    connection: Connection, order_id: int | None, start: int | None, limit: int
) -> list[ActionRow]:
    """About one order, or about any."""
    condition = "" if order_id is None else "AND order_id = %(order_id)s"
    statement = completed(_SQL["page"], conditions=condition)
    wanted = {"order_id": order_id, "start": MAX_ORDER_ID if start is None else start, "limit": limit}
    rows = await (await connection.execute(statement, wanted)).fetchall()
    return [_row(row) for row in rows]


def _row(row: tuple[Any, ...]) -> ActionRow:
    read = ActionRow(*row)
    role = None if read.role is None else Role(read.role)
    return read._replace(via=Via(read.via), role=role, kind=ActionKind(read.kind), detail=loads(row[-1]))


async def record_actions(connection: Connection, actions: Sequence[Action]) -> None:
    """Raises AnswerLost if another process has done it already, for the same request."""
    if not actions:
        return
    try:
        await connection.execute(INSERT_ACTIONS, action_columns(actions))
    except UniqueViolation as error:
        if error.diag.constraint_name != _ONCE_A_REQUEST:
            raise
        raise AnswerLost from error


def record_action(cursor: Cursor[Any], action: Action) -> None:
    """The same, in a transaction of the event store's."""
    try:
        cursor.execute(INSERT_ACTIONS, action_columns([action]))
    except UniqueViolation as error:
        if error.diag.constraint_name != _ONCE_A_REQUEST:
            raise
        raise AnswerLost from error


async def done_in_bulk(connection: Connection, bulk_id: UUID, order_ids: Sequence[int]) -> set[int]:
    """Those of the orders that the bulk replay has done already."""
    cursor = await connection.execute(_SQL["done_in_bulk"], (bulk_id, list(order_ids)))
    return {order_id async for (order_id,) in cursor}


def action_columns(actions: Sequence[Action]) -> dict[str, Any]:
    return {
        "actions": [str(each.kind) for each in actions],
        "operators": [each.asked.by.name for each in actions],
        "vias": [str(each.asked.by.via) for each in actions],
        "reasons": [each.asked.reason for each in actions],
        "order_ids": [each.order_id for each in actions],
        "versions": [each.version for each in actions],
        "keys": [each.key for each in actions],
        "before": [each.state_before for each in actions],
        "after": [each.state_after for each in actions],
        "bulk_ids": [each.bulk_id for each in actions],
        "quarantine_ids": [each.quarantine_id for each in actions],
        "details": [Jsonb(each.detail, dumps=dumps) for each in actions],
        "roles": [each.asked.by.role for each in actions],
        "request_ids": [each.asked.by.request_id for each in actions],
    }
