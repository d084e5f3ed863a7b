"""Which orders a bulk replay is about: a selection as SQL, and as it is kept to be shown."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from adapters.postgres.pool import Connection
from adapters.postgres.sql import statements
from adapters.records.bulk import MAX_SAMPLE, Selection
from domain.instants import format_instant

_SQL: Final = statements("bulk")
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_CONDITIONS: Final = {
    "orders": "order_id = ANY(%(orders)s)",
    "status": "status = %(status)s",
    "changed_from_ns": "recorded_at_ns >= %(changed_from_ns)s",
    "changed_to_ns": "recorded_at_ns < %(changed_to_ns)s",
    "doubt": "doubts @> ARRAY[%(doubt)s::text]",
    "doubtful_from_ns": "doubts <> '{}' AND doubtful_since_ns >= %(doubtful_from_ns)s",
    "doubtful_to_ns": "doubts <> '{}' AND doubtful_since_ns < %(doubtful_to_ns)s",
    "at_stake_min": "doubts <> '{}' AND abs(at_stake) >= %(at_stake_min)s",
    "at_stake_max": "doubts <> '{}' AND abs(at_stake) <= %(at_stake_max)s",
    "held_from_ns": "held > 0 AND held_since_ns >= %(held_from_ns)s",
    "held_to_ns": "held > 0 AND held_since_ns < %(held_to_ns)s",
}
_FLAGS: Final = {"doubtful": "doubts <> '{}'", "held": "held > 0"}
_PARKED: Final = "order_id IN (SELECT order_id FROM delivery WHERE {})"
_PARKED_CONDITIONS: Final = {
    "parked": "parked_at IS NOT NULL",
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
    given: dict[str, Any] = {
        "orders": None if selection.orders is None else sorted(selection.orders),
        "status": selection.status,
        "changed_from_ns": selection.changed_from_ns,
        "changed_to_ns": selection.changed_to_ns,
        "doubt": selection.doubt,
        "doubtful_from_ns": selection.doubtful_from_ns,
        "doubtful_to_ns": selection.doubtful_to_ns,
        "at_stake_min": selection.at_stake_min,
        "at_stake_max": selection.at_stake_max,
        "held_from_ns": selection.held_from_ns,
        "held_to_ns": selection.held_to_ns,
    }
    parked: dict[str, Any] = {
        "parked_reason": selection.parked_reason,
        "parked_from_ns": _moment(selection.parked_from_ns),
        "parked_to_ns": _moment(selection.parked_to_ns),
    }
    wanted = [_CONDITIONS[name] for name, value in given.items() if value is not None]
    wanted += [condition for name, condition in _FLAGS.items() if getattr(selection, name)]
    of_parked = [_PARKED_CONDITIONS[name] for name, value in parked.items() if value is not None]
    if but_doubtful:
        of_parked.append(_NOT_DOUBTFUL)
    if selection.parked or of_parked:
        wanted.append(_PARKED.format(" AND ".join([_PARKED_CONDITIONS["parked"], *of_parked])))
    assert wanted, "a selection without a condition would be every order there is"
    statement = _SQL["select_orders"].replace("/* conditions */", " AND ".join(wanted))
    cursor = connection.cursor(binary=True)
    await cursor.execute(statement, given | parked | {"limit": limit + 1, "sample": MAX_SAMPLE})
    row = await cursor.fetchone()
    assert row is not None, "an aggregate always has a row"
    return row


def shown(selection: Selection) -> dict[str, str | int]:
    """What was asked for; of named orders only their number."""
    moments = {
        "changedFrom": selection.changed_from_ns,
        "changedTo": selection.changed_to_ns,
        "parkedFrom": selection.parked_from_ns,
        "parkedTo": selection.parked_to_ns,
        "doubtfulFrom": selection.doubtful_from_ns,
        "doubtfulTo": selection.doubtful_to_ns,
        "heldFrom": selection.held_from_ns,
        "heldTo": selection.held_to_ns,
    }
    amounts = {"atStakeMin": selection.at_stake_min, "atStakeMax": selection.at_stake_max}
    given: dict[str, str | int | None] = {
        "namedOrders": None if selection.orders is None else len(selection.orders),
        "status": selection.status,
        "parked": selection.parked or None,
        "parkedReason": selection.parked_reason,
        "doubtful": selection.doubtful or None,
        "doubt": selection.doubt,
        "held": selection.held or None,
        **{name: None if instant is None else format_instant(instant) for name, instant in moments.items()},
        **{name: None if limit is None else f"{limit:f}" for name, limit in amounts.items()},
    }
    return {name: value for name, value in given.items() if value is not None}


def _moment(instant_ns: int | None) -> datetime | None:
    """PostgreSQL has microseconds: the first one that isn't before the instant."""
    if instant_ns is None:
        return None
    last = datetime.max.replace(tzinfo=UTC) - _EPOCH
    return _EPOCH + min(last, timedelta(microseconds=-(-instant_ns // 1000)))
