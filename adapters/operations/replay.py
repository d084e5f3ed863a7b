"""Replaying one order: what the endpoint and the `replay` command do."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, Protocol
from uuid import UUID, uuid4

from msgspec import Raw

from adapters.kafka.producer.partitioner import partition_for
from adapters.postgres.replays import PostgresReplays
from adapters.records.actions import ActionRequest, ReplayRecord
from adapters.records.errors import PartlyPublished, UnknownOrder
from adapters.records.parking import call_as_json
from adapters.records.publishing import Delivered, Outgoing
from domain.money import ZERO
from projections.redelivery import DEFAULT_OPTIONS, LedgerEntry, Redelivered, Redelivery, RedeliveryOptions
from projections.republication import Mode, Republication, republications

MAX_REPUBLISHING: Final = 2
"""Orders that one process republishes at once; further ones wait."""


class Republisher(Protocol):
    """Kafka, as replays need it; both methods block."""

    def partitions_of(self, topics: Iterable[str]) -> dict[str, int]:
        """Raises adapters.kafka.cluster.KafkaUnreachable."""

    def publish(self, messages: Sequence[Outgoing]) -> list[Delivered]:
        """Raises adapters.kafka.producer.republisher.PartlyPublished."""


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What was done, or, with `dry_run`, what would be. The items are in the order in which they are sent."""

    replay_id: UUID | None
    order_id: int
    mode: Mode
    dry_run: bool
    items: list[dict[str, Any]]
    suppressed: list[dict[str, Any]]
    options: RedeliveryOptions | None
    """Of a redelivery."""
    amount_at_risk: Decimal
    """What the third party could pay a second time because of it."""


class ReplayService:
    """For one event loop. `topics` are those that the service reads."""

    def __init__(
        self,
        replays: PostgresReplays,
        republisher: Republisher,
        *,
        topics: Sequence[str],
        key_retention: timedelta,
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        self._replays = replays
        self._republisher = republisher
        self._topics = tuple(topics)
        self._key_retention = key_retention
        self._new_id = new_id
        self._publishing = asyncio.Semaphore(MAX_REPUBLISHING)

    async def replay(
        self,
        order_id: int,
        mode: Mode,
        *,
        asked: ActionRequest,
        dry_run: bool,
        options: RedeliveryOptions = DEFAULT_OPTIONS,
    ) -> ReplayReport:
        """`options` are for redeliveries. Raises UnknownOrder, OrderChanged, UnderWay, NonceUsed, AnswerLost,
        StoreUnavailable, and, for Kafka, KafkaUnreachable (nothing was done) or PartlyPublished (safe to do again:
        repeats change nothing)."""
        if dry_run:
            await self._replays.check_precondition(order_id, asked)
        record = None if dry_run else ReplayRecord(self._new_id(), order_id, mode, asked)
        replay_id = record.id if record else None
        match mode:
            case Mode.REDELIVER:
                plan = await self._redeliver(order_id, options, record)
                sent = [_sent(each) for each in plan.sent]
                kept = [_call(each.entry) | {"willSend": False, "reason": each.reason} for each in plan.suppressed]
                return ReplayReport(replay_id, order_id, mode, dry_run, sent, kept, options, plan.amount_at_risk)
            case Mode.REPUBLISH:
                items = await self._republish(order_id, record)
                return ReplayReport(replay_id, order_id, mode, dry_run, items, [], None, ZERO)

    async def _redeliver(
        self, order_id: int, options: RedeliveryOptions, record: ReplayRecord | None
    ) -> Redelivery:
        if record is None:
            plan = await self._replays.preview(order_id, options, self._key_retention)
        else:
            plan = await self._replays.redeliver(record, options, self._key_retention)
        if plan is None:
            raise UnknownOrder(order_id)
        return plan

    async def _republish(self, order_id: int, record: ReplayRecord | None) -> list[dict[str, Any]]:
        events = await self._replays.events(order_id)
        if not events:
            raise UnknownOrder(order_id)
        plan = republications(events, self._topics)
        async with self._publishing:
            partitions = await asyncio.to_thread(self._republisher.partitions_of, {each.topic for each in plan})
            if record is None:
                return [_message(each, partition_for(each.key, partitions[each.topic])) for each in plan]
            return await self._publish(plan, record)

    async def _publish(self, plan: Sequence[Republication], record: ReplayRecord) -> list[dict[str, Any]]:
        await self._replays.record(record, len(plan))
        messages = [
            Outgoing(each.topic, each.key, each.message.body, each.headers(str(record.id))) for each in plan
        ]
        try:
            delivered = await asyncio.to_thread(self._republisher.publish, messages)
        except PartlyPublished as error:
            await self._replays.correct(record.id, error.published)
            raise
        return [
            _message(each, verdict.partition, verdict.offset) for each, verdict in zip(plan, delivered, strict=True)
        ]


def _sent(each: Redelivered) -> dict[str, Any]:
    former = {"formerKey": each.entry.call.key if each.is_renewed else None}
    risk = {"amountAtRisk": each.at_risk, "warning": each.warning}
    return _call(each.entry) | {"key": each.key, "willSend": True} | former | risk


def _call(entry: LedgerEntry) -> dict[str, Any]:
    return call_as_json(entry.call) | {
        "body": Raw(entry.call.body),
        "state": entry.state,
        "attempts": entry.attempts,
        "firstAttemptAt": entry.first_attempt_at,
    }


def _message(each: Republication, partition: int, offset: int | None = None) -> dict[str, Any]:
    message = each.message
    return {
        "version": each.version,
        "topic": each.topic,
        "partition": partition,
        "offset": offset,
        "key": each.key.decode("utf-8", "backslashreplace"),
        "type": message.kind,
        "transactionId": message.transaction_id,
        "transactionDate": message.transaction_date,
        "sequence": message.sequence,
        "bytes": len(message.body),
    }
