"""The effect ledger in memory: `projections.delivery.ports.Ledger` for tests that need no server."""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final
from uuid import UUID, uuid4

from domain.effects import Effect, EffectKind
from domain.identifiers import idempotency_key_by_version, stream_id
from domain.ports import StoreUnavailable
from projections.delivery.doubt import maybe_done_after
from projections.delivery.ports import (
    SESSION_TRUST_SECONDS,
    Attempt,
    AttemptKind,
    Call,
    Claim,
    Settlement,
    grace_seconds,
)
from projections.doubt_marks import DOUBTFUL

CALLS_PER_CLAIM: Final = 4
KINDS: Final = (EffectKind.CREATE, EffectKind.UPDATE, EffectKind.COMPLETE)


@dataclass
class Cursor:
    """What is known of one order's delivery."""

    calls: dict[int, Call] = field(default_factory=dict)
    head_version: int = 0
    settled_version: int = 0
    attempts: int = 0
    next_attempt_at: float = 0.0
    lease: UUID | None = None
    parked_reason: str | None = None
    delivered: set[int] = field(default_factory=set)
    claimed_at: float | None = None
    """Of a claim that was not settled."""
    claimed_versions: tuple[int, ...] = ()
    claimed_by: int = 0
    """A session."""
    first_sent_at: dict[int, float] = field(default_factory=dict)
    sendings: Counter[int] = field(default_factory=Counter)
    """By version."""
    in_doubt: set[int] = field(default_factory=set)
    """Versions that may have been carried out, the delivered ones with them."""
    delivered_before: set[int] = field(default_factory=set)
    """Versions that were delivered before a redelivery."""
    is_doubtful: bool = False

    @property
    def is_waiting(self) -> bool:
        """For its time to be sent, or for the end of a lease."""
        return self.settled_version < self.head_version and self.parked_reason is None


class FakeLedger:
    """Any number of dispatchers may share one. `clock` tells seconds; `pause` is awaited before each answer.

    Used by itself it is in session 0, which never ends.
    """

    def __init__(
        self, clock: Callable[[], float], *, lease_seconds: float = 60.0, call_timeout_seconds: float = 10.0
    ) -> None:
        self.ended_at: dict[int, float | None] = {0: None}
        """By session."""
        self._grace_seconds = grace_seconds(call_timeout_seconds)
        self.cursors: dict[int, Cursor] = {}
        self._rng = random.Random(1)
        self.attempts: list[Attempt] = []
        """Calls and lookups."""
        self._attempt_ids: set[UUID] = set()
        self.lost: list[Call] = []
        """Calls that were claimed and never settled."""
        self.settlements: list[Settlement] = []
        self.lost_leases = 0
        self.claims = 0
        self.is_down = False
        self.pause: Callable[[], float] = lambda: 0.0
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._due = asyncio.Event()

    def add(self, *calls: Call) -> None:
        """As the projection does: an order that stood idle is due at once."""
        for call in calls:
            cursor = self.cursors.setdefault(call.order_id, Cursor(next_attempt_at=self._clock()))
            if not cursor.is_waiting and cursor.parked_reason is None and cursor.lease is None:
                cursor.next_attempt_at = self._clock()
            cursor.calls.setdefault(call.version, call)
            cursor.head_version = max(cursor.head_version, call.version)
        self._due.set()

    def mark(self, order_id: int, *, is_doubtful: bool) -> None:
        """As the projection does: an order that stood still because it was doubtful is due at once."""
        cursor = self.cursors.setdefault(order_id, Cursor(next_attempt_at=self._clock()))
        cursor.is_doubtful = is_doubtful
        if not is_doubtful:
            self._free(cursor)

    def _free(self, cursor: Cursor) -> None:
        if cursor.parked_reason == DOUBTFUL:
            cursor.parked_reason, cursor.next_attempt_at = None, self._clock()
            self._due.set()

    async def free_doubtful(self) -> None:
        await self._reached()
        for cursor in self.cursors.values():
            self._free(cursor)

    def set_back(self, order_id: int, first_version: int) -> None:
        """As a redelivery does: sends the calls from this version on again, but not while a lease runs."""
        cursor = self.cursors[order_id]
        runs = cursor.lease is not None and cursor.next_attempt_at > self._clock()
        if cursor.settled_version >= first_version or not runs:
            cursor.lease = None
        cursor.settled_version = min(cursor.settled_version, first_version - 1)
        cursor.delivered_before |= {version for version in cursor.delivered if version >= first_version}
        cursor.delivered = {version for version in cursor.delivered if version < first_version}
        cursor.attempts, cursor.parked_reason = 0, None
        if not runs:
            cursor.next_attempt_at = self._clock()
        self._due.set()

    def open_session(self) -> int:
        session = len(self.ended_at)
        self.ended_at[session] = None
        return session

    def end_session(self, session: int) -> None:
        if self.ended_at[session] is None:
            self.ended_at[session] = self._clock()
            self._due.set()

    async def holds(self, claim: Claim) -> bool:
        """For as long as a process can believe it: it has just looked when the session ends."""
        return self._seconds_since_end(claim.session) < SESSION_TRUST_SECONDS

    def _seconds_since_end(self, session: int) -> float:
        ended_at = self.ended_at[session]
        return -math.inf if ended_at is None else self._clock() - ended_at

    def _free_claims(self) -> None:
        now = self._clock()
        over = {each for each in self.ended_at if self._seconds_since_end(each) >= self._grace_seconds}
        if not over:
            return
        for cursor in self.cursors.values():
            if cursor.claimed_at is not None and cursor.claimed_by in over:
                cursor.next_attempt_at = min(now, cursor.next_attempt_at)

    async def claim(
        self, limit: int, *, by_chance: bool = False, session: int = 0
    ) -> tuple[list[Claim], float | None]:
        await self._reached()
        self._due.clear()
        self.claims += 1
        self._free_claims()
        now, token = self._clock(), uuid4()
        waiting = [(order_id, cursor) for order_id, cursor in self.cursors.items() if cursor.is_waiting]
        due = [
            order_id
            for due_at, order_id in sorted((each.next_attempt_at, order_id) for order_id, each in waiting)
            if due_at <= now
        ]
        first = self._rng.randrange(len(due)) if by_chance and due else 0
        taken = due[first : first + limit]
        claims = []
        for order_id in sorted(taken):
            cursor = self.cursors[order_id]
            self._note_lost(cursor)
            cursor.lease, cursor.next_attempt_at = token, now + self._lease_seconds
            versions = sorted(version for version in cursor.calls if version > cursor.settled_version)
            calls = tuple(cursor.calls[version] for version in versions[:CALLS_PER_CLAIM])
            cursor.claimed_by = session
            cursor.claimed_at, cursor.claimed_versions = now, tuple(each.version for each in calls)
            doubts = {
                each.version: now - cursor.first_sent_at[each.version]
                for each in calls
                if each.version in cursor.in_doubt
            }
            sendings = {
                each.version: cursor.sendings[each.version] for each in calls if cursor.sendings[each.version]
            }
            claims.append(
                Claim(
                    order_id,
                    token,
                    cursor.settled_version,
                    cursor.attempts,
                    calls,
                    doubts,
                    sendings,
                    frozenset(versions[:CALLS_PER_CLAIM]) & cursor.delivered_before,
                    is_doubtful=cursor.is_doubtful,
                    session=session,
                )
            )
        times = [cursor.next_attempt_at for _, cursor in waiting]
        return claims, min(times) - now if times else None

    async def settle(self, settlements: Sequence[Settlement]) -> int:
        await self._reached()
        lost = 0
        self.settlements += settlements
        for each in settlements:
            self.attempts += [attempt for attempt in each.attempts if attempt.id not in self._attempt_ids]
            self._attempt_ids |= {attempt.id for attempt in each.attempts}
            cursor = self.cursors[each.claim.order_id]
            if cursor.lease != each.claim.token:
                lost += 1
                continue
            self._note_sent(cursor, each)
            cursor.lease = cursor.claimed_at = None
            cursor.settled_version, cursor.attempts = each.settled_version, each.spent_attempts
            cursor.next_attempt_at = self._clock() + each.wait_seconds
            is_freed = each.parked_reason == DOUBTFUL and not cursor.is_doubtful
            cursor.parked_reason = None if is_freed else each.parked_reason
            cursor.delivered |= {
                attempt.call.version for attempt in each.attempts if attempt.call.version <= each.settled_version
            }
        self.lost_leases += lost
        return lost

    def _note_lost(self, cursor: Cursor) -> None:
        if cursor.claimed_at is None:
            return
        for version in cursor.claimed_versions:
            if version > cursor.settled_version:
                cursor.first_sent_at.setdefault(version, cursor.claimed_at)
                cursor.in_doubt.add(version)
                self.lost.append(cursor.calls[version])

    def _note_sent(self, cursor: Cursor, settlement: Settlement) -> None:
        assert cursor.claimed_at is not None
        for call, of_call in groupby(settlement.attempts, key=lambda attempt: attempt.call):
            attempts = list(of_call)
            sendings = sum(attempt.kind is AttemptKind.CALL for attempt in attempts)
            cursor.sendings[call.version] += sendings
            if sendings:
                cursor.first_sent_at.setdefault(call.version, cursor.claimed_at)
            in_doubt = maybe_done_after(attempts, before=call.version in cursor.in_doubt)
            (cursor.in_doubt.add if in_doubt else cursor.in_doubt.discard)(call.version)

    async def wait(self, timeout_seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._due.wait(), timeout_seconds)

    async def _reached(self) -> None:
        pause_seconds = self.pause()
        if pause_seconds:
            await asyncio.sleep(pause_seconds)
        if self.is_down:
            raise StoreUnavailable("the ledger is down, as the test wants it")

    @property
    def is_settled(self) -> bool:
        return not any(cursor.is_waiting for cursor in self.cursors.values())

    def attempts_of(self, order_id: int, kind: AttemptKind = AttemptKind.CALL) -> list[Attempt]:
        return [each for each in self.attempts if each.call.order_id == order_id and each.kind is kind]


class FakeLedgerSession:
    """A ledger as one process has it: in a session, and in another when that has ended."""

    def __init__(self, ledger: FakeLedger) -> None:
        self._ledger = ledger
        self.session = ledger.open_session()

    async def claim(self, limit: int, *, by_chance: bool = False) -> tuple[list[Claim], float | None]:
        if self._ledger.ended_at[self.session] is not None:
            self.session = self._ledger.open_session()
        return await self._ledger.claim(limit, by_chance=by_chance, session=self.session)

    async def holds(self, claim: Claim) -> bool:
        """Whoever is in another session knows that the first has ended."""
        return claim.session == self.session and await self._ledger.holds(claim)

    async def settle(self, settlements: Sequence[Settlement]) -> int:
        return await self._ledger.settle(settlements)

    async def free_doubtful(self) -> None:
        await self._ledger.free_doubtful()

    async def wait(self, timeout_seconds: float) -> None:
        await self._ledger.wait(timeout_seconds)


def call(order_id: int, version: int, kind: EffectKind | None = None) -> Call:
    """A call that the third party takes: of its version, if no kind is named, create, update, update …"""
    kind = kind or (EffectKind.CREATE if version == 1 else EffectKind.UPDATE)
    key = idempotency_key_by_version(stream_id(order_id), version)
    date = f'"2025-02-28T13:00:00.{version:09}Z"'
    body = f'{{"orderId":{order_id},"transactionId":"t{version}","transactionDate":{date}'
    if kind is not EffectKind.CANCEL:
        body += ',"cashbackAmount":6.50'
    if kind in {EffectKind.CREATE, EffectKind.UPDATE}:
        body += ',"storeNo":"1","buyerId":"2","items":[{"quantity":1.250}]'
    if kind is EffectKind.CORRECT:
        body += ',"reason":"updated after completion"'
    return Call(order_id, version, kind, key, f"{body}}}".encode())


def effect(order_id: int, version: int, kind: EffectKind) -> Effect:
    """What `call` is made from."""
    return Effect(kind, stream_id(order_id), version, idempotency_key_by_version(stream_id(order_id), version))


def lifecycle(order_id: int, kinds: Iterable[EffectKind] = KINDS) -> list[Call]:
    """An order's calls, versions from 1 on."""
    return [call(order_id, version, kind) for version, kind in enumerate(kinds, start=1)]
