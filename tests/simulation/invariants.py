"""What must be true, whatever happened: after every commit, and when all is settled."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import psycopg
from eventsourcing.persistence import StoredEvent
from psycopg import sql

from adapters.postgres.codec import EventMapper
from adapters.postgres.rebuild import rebuild
from domain.events import CreateGivenUp, Doubt, GapAccepted, MessageEvent, OrderEvent
from domain.exact_json import loads
from domain.identifiers import order_id_of
from projections.delivery.ports import Call
from tests.simulation.third_party import SimulatedThirdParty
from tests.simulation.topic import GARBLED, Lifecycle

_CALLS_ASKED_FOR: Final = "^cashback-(created|updated|completed|cancelled|corrected)$"

_AT_ONCE: Final = f"""
SELECT 'unsettled', d.order_id, e.version, NULL FROM delivery AS d JOIN effect AS e USING (order_id)
WHERE e.version <= d.settled_version AND e.state NOT IN ('delivered', 'skipped')
UNION ALL
SELECT 'call', e.order_id, e.version, concat_ws(' ', e.idempotency_key, e.state, CASE
    WHEN e.first_sent_at IS NOT NULL OR (d.claimed_at IS NOT NULL AND e.version <= d.claimed_head) THEN 'known' END)
FROM effect AS e JOIN delivery AS d USING (order_id)
UNION ALL
SELECT 'event', s.notification_id, s.originator_version, s.originator_id::text FROM stored_events AS s
JOIN projection_position AS p ON p.name = 'third-party' AND s.notification_id <= p.notification_id
WHERE s.topic ~ '{_CALLS_ASKED_FOR}'
UNION ALL
SELECT 'position', partition, next_offset, topic FROM kafka_position
UNION ALL
SELECT 'projection', 0, notification_id, name FROM projection_position
"""

_BEGUN: Final = """
SELECT d.next_attempt_at,
       e.first_sent_at IS NOT NULL OR (d.claimed_at IS NOT NULL AND e.version <= d.claimed_head)
FROM delivery AS d JOIN effect AS e USING (order_id) WHERE e.order_id = %s AND e.version = %s
"""

_RENEWED: Final = """
SELECT order_id FROM operator_action
WHERE action = 'redeliver' AND (detail->>'nonce' IS NOT NULL OR detail->'include' <> '[]')
"""

_MAPPER: Final = EventMapper()


HARMLESS: Final = {Doubt.IMPLAUSIBLE_AMOUNT}
"""A doubt that holds an order back until it is settled, and says nothing about what is true."""


class ViolationFound(Exception):
    """Something that must never be true is."""


class Invariants:
    """On a connection of its own, which nothing simulated touches."""

    def __init__(self, url: str, third_party: SimulatedThirdParty) -> None:
        self._url = url
        self._connection = psycopg.connect(url, autocommit=True)
        self._third_party = third_party
        self._seen_violations = 0
        self._places: dict[tuple[str, int, str], int] = {}
        self._sent_before = 0
        """Calls that were sent before the database went back: it may not know of them."""
        self._begun_before: datetime | None = None
        """When calls begin that may belong to claims which the database has forgotten."""

    def rewound(self, until: datetime) -> None:
        """The database has gone back in time. Whoever had a session there may trust it until then."""
        self._places.clear()
        self._sent_before = len(self._third_party.sent)
        self._begun_before = until

    def close(self) -> None:
        self._connection.close()

    def check(self) -> None:
        """After a commit. Raises ViolationFound."""
        self._check_third_party()
        rows = self._connection.execute(_AT_ONCE, prepare=True).fetchall()
        calls = {(order_id, version): said.split() for kind, order_id, version, said in rows if kind == "call"}
        applied = {str(entry.key) for entry in self._third_party.books.log.after(0) if entry.applied}
        sent = {str(call.key) for call in self._third_party.sent[self._sent_before :]}
        for (order_id, version), (key, state, *known) in calls.items():
            if key in sent and not known and state not in {"delivered", "skipped"}:
                raise ViolationFound(f"call {version} of order {order_id} was sent, and the ledger forgot it")
            # Under a new key, a lookup may find what was carried out under the old one.
            if state == "delivered" and key not in applied and order_id not in self._renewed():
                raise ViolationFound(f"call {version} of order {order_id} is called delivered, and never was")
        for kind, number, version, said in rows:
            match kind:
                case "unsettled":
                    raise ViolationFound(
                        f"the cursor of order {number} is past call {version}, which isn't settled"
                    )
                case "event" if (order_id_of(UUID(said)), version) not in calls and not self._is_parked(said):
                    raise ViolationFound(f"event {number} is behind the projection, and its call is missing")
                case "position" | "projection":
                    self._check_place((kind, number, said), version)
                case _:
                    pass
        self._check_order_of_calls(calls)

    def check_begun(self, call: Call, ends_at: datetime) -> None:
        """A call begins. It will have ended by `ends_at`, if its process doesn't stand still."""
        if self._begun_before is not None and ends_at <= self._begun_before:
            return
        row = self._connection.execute(_BEGUN, (call.order_id, call.version), prepare=True).fetchone()
        lease_ends_at, is_known = row or (ends_at, False)
        if lease_ends_at < ends_at:
            raise ViolationFound(f"call {call.version} of order {call.order_id} may outlast its lease")
        if not is_known:
            raise ViolationFound(f"call {call.version} of order {call.order_id} is sent, and no claim says so")

    def _check_third_party(self) -> None:
        books = self._third_party.books
        if books.violation_count == self._seen_violations:
            return
        self._seen_violations = books.violation_count
        risked = self._risked()
        for violation in books.violations:
            if violation.kind == "overlap" and self._third_party.may_overlap:
                continue
            if violation.kind != "second_credit" and violation.order_id in risked:
                continue  # what comes after a call that a person gave up may be refused
            if violation.order_id in self._renewed():
                continue  # the third party was to do again what it may have done
            said = f"{violation.kind} of order {violation.order_id}: {violation.detail}"
            raise ViolationFound(f"the third party wrote down: {said}")

    def _check_place(self, place: tuple[str, int, str], reached: int) -> None:
        before = self._places.get(place, reached)
        if reached < before:
            raise ViolationFound(f"the position of {place} went back from {before} to {reached}")
        self._places[place] = reached

    def _check_order_of_calls(self, calls: dict[tuple[int, int], list[str]]) -> None:
        versions = {key: place for place, (key, *_) in calls.items()}
        last: dict[int, int] = {}
        for entry in self._third_party.books.log.after(0):
            if entry.applied and not entry.hit and str(entry.key) in versions:
                order_id, version = versions[str(entry.key)]
                if version < last.get(order_id, 0) and order_id not in self._risked():
                    raise ViolationFound(f"call {version} of order {order_id} came after {last[order_id]}")
                last[order_id] = version

    def _is_parked(self, stream: str) -> bool:
        """An order whose next call would break an invariant is parked instead (`park_broken`)."""
        row = self._connection.execute(
            "SELECT 1 FROM delivery WHERE order_id = %s AND parked_reason LIKE 'invariant%%'",
            (order_id_of(UUID(stream)),),
        ).fetchone()
        return row is not None

    def _risked(self) -> set[int]:
        """Orders with a call that a person gave up, or wanted sent whatever had become of it."""
        return self._orders("SELECT order_id FROM operator_action WHERE action = 'skip'") | self._renewed()

    def _renewed(self) -> set[int]:
        return self._orders(_RENEWED)

    def _orders(self, query: str) -> set[int]:
        return {order_id for (order_id,) in self._connection.execute(sql.SQL(query))}

    # When nothing is left to do

    def is_settled(self, ends: dict[int, int]) -> bool:
        """All that was published is decided, and all calls are settled or wait for a person."""
        rows = self._connection.execute("SELECT partition, next_offset FROM kafka_position")
        read: dict[int, int] = dict(rows.fetchall())
        if any(read.get(partition, 0) < end for partition, end in ends.items()):
            return False
        row = self._connection.execute(
            "SELECT (SELECT coalesce(max(notification_id), 0) FROM stored_events) <= (SELECT min(notification_id)"
            " FROM projection_position) AND NOT EXISTS (SELECT FROM delivery WHERE settled_version < head_version"
            " AND parked_at IS NULL)"
        ).fetchone()
        return row is not None and bool(row[0])

    def standing(self) -> str:
        rows = self._connection.execute(
            "SELECT row_to_json(d)::text FROM delivery AS d ORDER BY order_id"
        ).fetchall()
        return "\n".join(said for (said,) in rows)

    def check_end(self, lifecycles: Sequence[Lifecycle], tell: Callable[[str, str], None]) -> int:
        """Compares the third party's books with what is true. Answers how many orders are marked for a person."""
        self.check()
        marked = self._marked()
        for lifecycle in lifecycles:
            order_id = lifecycle.order_id
            tell("end", f"order {order_id}: {' '.join(lifecycle.kinds)}, {marked.get(order_id, 'not marked')}")
            if order_id not in marked:
                self._check_books(lifecycle)
        for found in rebuild(self._url, [], lambda *_: None, check=True).differences:
            raise ViolationFound(f"order {found.order_id} is not what its events say: {found}")
        return len(marked)

    def _check_books(self, lifecycle: Lifecycle) -> None:
        booked = self._third_party.books.orders.get(lifecycle.order_id)
        if booked is None:
            raise ViolationFound(f"the third party never heard of order {lifecycle.order_id}")
        credited = booked.amount if booked.status == "COMPLETED" else 0
        if credited != lifecycle.credited or (booked.status == "PENDING") != lifecycle.is_open:
            said = f"{booked.status} with {booked.amount}"
            raise ViolationFound(f"order {lifecycle.order_id} is {said}; {lifecycle.credited} are owed, unmarked")
        if lifecycle.is_open and booked.amount != lifecycle.amounts[-1]:
            raise ViolationFound(f"order {lifecycle.order_id} has {booked.amount} pending, unmarked")

    def _marked(self) -> dict[int, str]:
        """Orders that a person is shown, or has decided about."""
        marked = dict.fromkeys(self._risked(), "a call was skipped, or sent again at a person's risk")
        marked |= dict.fromkeys(self._orders("SELECT order_id FROM orders WHERE held > 0"), "a message is held")
        marked |= dict.fromkeys(self._unread(), "a message can't be read, or was discarded")
        rows = self._connection.execute("SELECT order_id, parked_reason FROM delivery WHERE parked_at IS NOT NULL")
        marked |= {order_id: f"parked: {reason}" for order_id, reason in rows}
        for order_id, events in self.streams().items():
            for event in events:
                if why := _why_marked(event):
                    marked[order_id] = why
        return marked

    def _unread(self) -> set[int]:
        rows = self._connection.execute("SELECT message_value FROM quarantine WHERE state <> 'retried'")
        garbled = [value for (value,) in rows if value.startswith(GARBLED)]
        return {loads(value.removeprefix(GARBLED))["payload"]["orderId"] for value in garbled}

    def streams(self) -> dict[int, list[OrderEvent]]:
        rows: Sequence[Any] = self._connection.execute(
            "SELECT originator_id, originator_version, topic, state FROM stored_events ORDER BY 1, 2"
        ).fetchall()
        streams: dict[int, list[OrderEvent]] = {}
        for row in rows:
            event = _MAPPER.to_domain_event(StoredEvent(*row))
            streams.setdefault(event.order_id, []).append(event)
        return streams


def _why_marked(event: OrderEvent) -> str | None:
    match event:
        case MessageEvent(doubts=doubts) if set(doubts) - HARMLESS:
            return f"doubtful: {', '.join(doubts)}"
        case GapAccepted() | CreateGivenUp():
            return f"a person decided: {event.TOPIC}"
        case _:
            return None
