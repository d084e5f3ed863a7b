"""Which orders a job is about: a selection as SQL, and as it is kept to be shown."""

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from adapters.postgres.pool import Connection
from adapters.postgres.sql import completed, statements
from adapters.records.jobs import Selection
from domain.instants import format_instant

_SQL: Final = statements("jobs")
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_CONDITIONS: Final = {
    "orders": "order_id = ANY(%(orders)s)",
    "status": "status = %(status)s",
    "changed_from_ns": "recorded_at_ns >= %(changed_from_ns)s",
    "changed_to_ns": "recorded_at_ns < %(changed_to_ns)s",
    "doubtful": "doubts <> '{}'",
    "doubt": "doubts @> ARRAY[%(doubt)s::text]",
    "doubtful_from_ns": "doubts <> '{}' AND doubtful_since_ns >= %(doubtful_from_ns)s",
    "doubtful_to_ns": "doubts <> '{}' AND doubtful_since_ns < %(doubtful_to_ns)s",
    "at_stake_min": "doubts <> '{}' AND abs(at_stake) >= %(at_stake_min)s",
    "at_stake_max": "doubts <> '{}' AND abs(at_stake) <= %(at_stake_max)s",
    "held": "held > 0",
    "held_from_ns": "held > 0 AND held_since_ns >= %(held_from_ns)s",
    "held_to_ns": "held > 0 AND held_since_ns < %(held_to_ns)s",
    "difference": "order_id IN (SELECT order_id FROM reconciliation WHERE closed_at IS NULL"
    " AND class = %(difference)s)",
}
_MESSAGE_CONDITIONS: Final = {
    "quarantine_reason": "reason = %(quarantine_reason)s",
    "quarantine_topic": "topic = %(quarantine_topic)s",
}
_PARKED: Final = "order_id IN (SELECT order_id FROM delivery WHERE parked_at IS NOT NULL AND {})"
_PARKED_CONDITIONS: Final = {
    "parked": "true",
    "parked_reason": "starts_with(parked_reason, %(parked_reason)s)",
    "parked_from_ns": "parked_at >= %(parked_from_ns)s",
    "parked_to_ns": "parked_at < %(parked_to_ns)s",
}
_NOT_DOUBTFUL: Final = "parked_reason <> 'doubtful'"


async def selected(
    connection: Connection, selection: Selection, limit: int, *, but_doubtful: bool = False
) -> tuple[Any, ...]:
    """The conditions are part of the text, so that each combination gets the plan that suits it.

    `but_doubtful`: without orders that are parked until a doubt is settled.
    """
    given = _given(selection)
    given |= {name: _moment(given[name]) for name in ("parked_from_ns", "parked_to_ns") if name in given}
    if selection.orders is not None:
        given["orders"] = sorted(selection.orders)
    wanted = [condition for name, condition in _CONDITIONS.items() if name in given]
    of_parked = [condition for name, condition in _PARKED_CONDITIONS.items() if name in given]
    if but_doubtful:
        of_parked.append(_NOT_DOUBTFUL)
    if of_parked:
        wanted.append(_PARKED.format(" AND ".join(of_parked)))
    assert wanted, "a selection without a condition would be every order there is"
    statement = completed(_SQL["select_orders"], conditions=" AND ".join(wanted))
    cursor = connection.cursor(binary=True)
    await cursor.execute(statement, given | {"limit": limit + 1})
    row = await cursor.fetchone()
    assert row is not None, "an aggregate always has a row"
    return row


async def selected_messages(connection: Connection, selection: Selection, limit: int) -> list[int]:
    """Ids of open messages in quarantine, the smallest ones, one more than the limit at most."""
    given = _given(selection)
    wanted = [condition for name, condition in _MESSAGE_CONDITIONS.items() if name in given]
    statement = completed(_SQL["select_messages"], conditions="".join(f" AND {each}" for each in wanted))
    cursor = await connection.execute(statement, given | {"limit": limit + 1})
    return [quarantine_id async for (quarantine_id,) in cursor]


def shown(selection: Selection) -> dict[str, str | int]:
    """What was asked for; of named orders only their number."""
    return dict(_shown(name, value) for name, value in _given(selection).items())


def _given(selection: Selection) -> dict[str, Any]:
    values = {each.name: getattr(selection, each.name) for each in fields(selection)}
    return {name: value for name, value in values.items() if value is not None and value is not False}


def _shown(name: str, value: Any) -> tuple[str, str | int]:
    first, *words = name.removesuffix("_ns").split("_")
    said = first + "".join(map(str.capitalize, words))
    match value:
        case frozenset():
            return "namedOrders", len(value)
        case Decimal():
            return said, f"{value:f}"
        case int() if name.endswith("_ns"):
            return said, format_instant(value)
    return said, value


def _moment(instant_ns: int) -> datetime:
    """PostgreSQL has microseconds: the first one that isn't before the instant."""
    last = datetime.max.replace(tzinfo=UTC) - _EPOCH
    return _EPOCH + min(last, timedelta(microseconds=-(-instant_ns // 1000)))
