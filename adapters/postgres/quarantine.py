"""Messages in quarantine as they are dealt with: each once, in the transaction of what is done with them."""

import base64
from collections.abc import Sequence
from typing import Any, Final

from psycopg import Cursor
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from adapters.postgres.audit_log import INSERT_ACTIONS, action_columns
from adapters.postgres.event_store import OrderApplication
from adapters.postgres.sql import statements
from adapters.records.actions import Action
from adapters.records.errors import NotOpen
from adapters.records.quarantine import NO_EDIT, Edit, Headers
from domain.events import OrderEvent
from domain.ports import Batch

_SQL: Final = statements("quarantine")


def close_message(
    store: OrderApplication,
    action: Action,
    edit: Edit = NO_EDIT,
    events: Sequence[OrderEvent] = (),
) -> None:
    """Stores the events, moves the message that the action is about to its new state, and records the action.

    All or nothing.

    Raises NotOpen, and what `domain.ports.OrderStore.commit` raises.
    """
    closing = {
        "id": action.quarantine_id,
        "state": action.state_after,
        "order_id": action.order_id,
        "key": edit.key,
        "value": edit.value,
        "headers": None if edit.headers is None else Jsonb(_kept(edit.headers)),
    }

    def close(cursor: Cursor[DictRow]) -> None:
        if cursor.execute(_SQL["close"], closing).fetchone() is None:
            found = cursor.execute(_SQL["state"], (action.quarantine_id,)).fetchone()
            raise NotOpen(action.quarantine_id or 0, found["state"] if found else "gone")
        cursor.execute(INSERT_ACTIONS, action_columns([action]))

    store.commit(Batch(events, [], []), first=close)


def _kept(headers: Headers) -> list[list[Any]]:
    """In the form of those that came."""
    return [[name, None if value is None else base64.b64encode(value).decode()] for name, value in headers]
