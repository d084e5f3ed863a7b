"""Messages that could not be read, dealt with by a person: read again, edited if need be, or discarded.

A message that is read again keeps its place (topic, partition and offset) and is decided as intake would have done;
in one transaction with that the quarantine lets go of it. What came is never changed: an edit stands beside it.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from adapters.kafka.consumer.intake import MAX_DECIDING_ROUNDS, Limits, unusable
from adapters.kafka.decoding.decoder import Unreadable, decode
from adapters.kafka.decoding.record import Record
from adapters.postgres.event_store import OrderApplication
from adapters.postgres.quarantine import close_message
from adapters.postgres.queries import PostgresQueries
from adapters.records.actions import Action, ActionRequest
from adapters.records.errors import NotOpen, StillUnreadable, UnknownQuarantined
from adapters.records.operators import ActionKind
from adapters.records.quarantine import NO_EDIT, Edit, QuarantinedMessage
from domain.decision import DEFAULT_POLICY, Policy, decide
from domain.events import MessageEvent
from domain.messages import Message
from domain.money import DEFAULT_TILL, Till
from domain.ports import Partition, StaleOrder, StoreUnavailable


@dataclass(frozen=True, slots=True)
class QuarantineReport:
    """What was done, or, with `dry_run`, what would be."""

    kind: ActionKind
    quarantine_id: int
    dry_run: bool
    state_after: str
    message: Message | None = None
    events: Sequence[MessageEvent] = ()


class QuarantineService:
    """For one event loop; the store's work is done on threads."""

    def __init__(  # noqa: PLR0913 - all that intake has, and the queries
        self,
        queries: PostgresQueries,
        store: OrderApplication,
        *,
        policy: Policy = DEFAULT_POLICY,
        limits: Limits | None = None,
        till: Till = DEFAULT_TILL,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`policy`, `limits` and `till` are those of intake."""
        self._queries = queries
        self._store = store
        self._policy = policy
        self._limits = limits or Limits()
        self._till = till
        self._clock_ns = clock_ns

    async def retry(
        self,
        quarantine_id: int,
        asked: ActionRequest,
        *,
        edit: Edit = NO_EDIT,
        dry_run: bool = False,
        bulk_id: UUID | None = None,
    ) -> QuarantineReport:
        """`bulk_id` is that of the job it is part of. Raises UnknownQuarantined, NotOpen, StillUnreadable or
        StoreUnavailable."""
        kept = await self._open(quarantine_id)
        return await asyncio.to_thread(self._retry, kept, asked, edit, dry_run=dry_run, bulk_id=bulk_id)

    async def discard(
        self, quarantine_id: int, asked: ActionRequest, *, dry_run: bool = False, bulk_id: UUID | None = None
    ) -> QuarantineReport:
        """Raises UnknownQuarantined, NotOpen or StoreUnavailable."""
        kept = await self._open(quarantine_id)
        report = QuarantineReport(ActionKind.QUARANTINE_DISCARD, quarantine_id, dry_run, "discarded")
        if not dry_run:
            action = _action(report, asked, kept, _of_job(bulk_id))
            await asyncio.to_thread(close_message, self._store, action)
        return report

    async def _open(self, quarantine_id: int) -> QuarantinedMessage:
        kept = await self._queries.quarantined(quarantine_id)
        if kept is None:
            raise UnknownQuarantined(quarantine_id)
        if kept.row.state != "open":
            raise NotOpen(quarantine_id, kept.row.state)
        return kept

    def _retry(
        self, kept: QuarantinedMessage, asked: ActionRequest, edit: Edit, *, dry_run: bool, bulk_id: UUID | None
    ) -> QuarantineReport:
        message = self._read(kept, edit)
        for _ in range(MAX_DECIDING_ROUNDS):
            events = self._decide(kept, message)
            report = QuarantineReport(ActionKind.QUARANTINE_RETRY, kept.row.id, dry_run, "retried", message, events)
            if dry_run:
                return report
            edited = [name for name in ("key", "value", "headers") if getattr(edit, name) is not None]
            detail = {"edited": edited, "events": [event.TOPIC for event in events]}
            action = _action(report, asked, kept, detail | _of_job(bulk_id))
            try:
                close_message(self._store, action, edit, events)
            except StaleOrder:
                continue
            return report
        raise StoreUnavailable(f"other processes changed the order {MAX_DECIDING_ROUNDS} times running")

    def _read(self, kept: QuarantinedMessage, edit: Edit) -> Message:
        row = kept.row
        record = Record(
            partition=Partition(row.topic, kept.topic_id, row.partition),
            offset=row.offset,
            timestamp_ms=kept.timestamp_ms,
            key=kept.key if edit.key is None else edit.key,
            value=kept.value if edit.value is None else edit.value,
            headers=kept.headers if edit.headers is None else edit.headers,
        )
        found = decode(record, till=self._till, max_message_bytes=self._limits.max_message_bytes)
        if isinstance(found, Unreadable):
            raise StillUnreadable(row.id, found.reason, found.detail)
        return found

    def _decide(self, kept: QuarantinedMessage, message: Message) -> Sequence[MessageEvent]:
        """As intake would have done."""
        order = self._store.load([message.order_id])[message.order_id]
        if (broken := unusable(order)) is not None:
            raise StillUnreadable(kept.row.id, broken.reason, broken.detail)
        events = decide(order, message, now_ns=self._clock_ns(), policy=self._policy)
        limit = self._limits.max_order_events
        if events and order.version + len(events) > limit:
            raise StillUnreadable(kept.row.id, "order_full", f"the order has {limit} decisions already")
        return events


def _of_job(bulk_id: UUID | None) -> dict[str, Any]:
    """Beside what was done: the record itself has room for one action of a job on each order, and an order may have
    several messages in quarantine."""
    return {} if bulk_id is None else {"job": bulk_id}


def _action(
    report: QuarantineReport, asked: ActionRequest, kept: QuarantinedMessage, detail: dict[str, Any]
) -> Action:
    row = kept.row
    place = {"topic": row.topic, "partition": row.partition, "offset": row.offset, "was": row.reason}
    return Action(
        kind=report.kind,
        asked=asked,
        order_id=report.message.order_id if report.message else row.order_id,
        version=report.events[0].originator_version if report.events else None,
        state_before="open",
        state_after=report.state_after,
        quarantine_id=report.quarantine_id,
        detail=place | detail,
    )
