"""The ledger's own statements, in the order and the batches of a running service, without a third party.

Calls become due, are claimed, and are settled, as many as wanted in a short time.
"""

import asyncio
import itertools
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import psycopg

from adapters.postgres.ledger import PostgresLedger
from adapters.postgres.projection_feeds import write_intended_calls
from bench import messages
from bench.laboratory import CONCURRENCY
from bench.stores import events_of
from domain.effects import Effect
from domain.identifiers import stream_id
from projections.delivery.ports import Answer, Attempt, Claim, Outcome, Settlement
from projections.feed import Recorded
from projections.intended_calls import IntendedCall, intended_calls

DISPATCHERS: Final = 2
BACKLOG_CALLS: Final = 4_000
"""The most that is due and not yet delivered."""
BLOCKS_BETWEEN: Final = 3
"""An order's next call comes after those of so many times 1500 other orders: each call is claimed on its own."""
FAILING_SHARE: Final = 0.05
"""Of the attempts: the call is tried again a little later."""
RETRY_SECONDS: Final = 0.2
LEASE_SECONDS: Final = 60.0
ANSWER: Final = '{"status": "ok"}'
DURATION_MS: Final = 12
SEED: Final = 1


class Deliveries:
    """A database's deliveries; they begin with the first, and go on where they stood."""

    def __init__(self, database_url: str) -> None:
        self.delivered = 0
        self._database_url = database_url
        self._batches = _batches()
        self._rng = random.Random(SEED)
        self._due = 0

    def reach(self, deliveries: int) -> None:
        """Goes on until about so many calls were delivered in all, and none is left."""
        asyncio.run(self._reach(deliveries))

    async def _reach(self, deliveries: int) -> None:
        self._wanted = deliveries
        self._room = asyncio.Event()
        async with (
            PostgresLedger(
                self._database_url, lease_seconds=LEASE_SECONDS, call_timeout_seconds=10, pool_size=DISPATCHERS
            ) as ledger,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(self._feed())
            for _ in range(DISPATCHERS):
                tasks.create_task(self._dispatch(ledger))

    async def _feed(self) -> None:
        """As the projection does, on a connection of its own."""
        with psycopg.connect(self._database_url, autocommit=True) as connection:
            while self._due < self._wanted:
                batch = next(self._batches)
                await asyncio.to_thread(_write, connection, batch)
                self._due += len(batch)
                self._room.clear()
                if self._due - self.delivered > BACKLOG_CALLS:
                    await self._room.wait()

    async def _dispatch(self, ledger: PostgresLedger) -> None:
        while self.delivered < max(self._due, self._wanted):
            claims, _ = await ledger.claim(CONCURRENCY)
            if not claims:
                await asyncio.sleep(0.01)
                continue
            settlements = [self._settled(claim) for claim in claims]
            await ledger.settle(settlements)
            self.delivered += sum(
                attempt.answer.outcome is Outcome.DELIVERED for each in settlements for attempt in each.attempts
            )
            if self._due - self.delivered <= BACKLOG_CALLS:
                self._room.set()

    def _settled(self, claim: Claim) -> Settlement:
        attempts: list[Attempt] = []
        settled_version = claim.settled_version
        for call in claim.calls:
            fails = self._rng.random() < FAILING_SHARE
            answer = Answer(Outcome.FAILED, 503, "") if fails else Answer(Outcome.DELIVERED, 200, ANSWER)
            attempts.append(Attempt(call, datetime.now(UTC), DURATION_MS, answer))
            if fails:
                return Settlement(claim, tuple(attempts), settled_version, 1, RETRY_SECONDS)
            settled_version = call.version
        return Settlement(claim, tuple(attempts), settled_version, 0, 0.0)


def _write(connection: psycopg.Connection, batch: Sequence[IntendedCall]) -> None:
    with connection.transaction():
        write_intended_calls(connection, batch)


def _batches() -> Iterator[list[IntendedCall]]:
    """Without end. Each order's calls come one by one, with those of thousands of other orders in between."""
    orders = _template()
    longest = max(map(len, orders))
    for block in itertools.count(1):
        batch = []
        for place in range(min(longest, -(-block // BLOCKS_BETWEEN))):
            shift = (block - place * BLOCKS_BETWEEN) * len(orders)
            batch += [_moved(calls[place], shift) for calls in orders if place < len(calls)]
        yield batch


def _template() -> list[list[IntendedCall]]:
    events = events_of(messages.lifecycles_of(messages.TEMPLATE_ORDERS))
    orders: dict[int, list[IntendedCall]] = {}
    for each in intended_calls([Recorded(number, event) for number, event in enumerate(events, 1)]):
        orders.setdefault(each.order_id, []).append(each)
    return [orders[order_id] for order_id in sorted(orders)]


def _moved(call: IntendedCall, shift: int) -> IntendedCall:
    """The same call of another order. Ids have ten digits, as nothing else in a body has."""
    order_id = call.order_id + shift
    return IntendedCall(
        order_id,
        call.version,
        Effect(call.effect.kind, stream_id(order_id), call.version, uuid4()),
        call.body.replace(b"%d" % call.order_id, b"%d" % order_id),
        call.recorded_ns,
        call.cashback,
    )
