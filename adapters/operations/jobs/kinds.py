"""The kinds of jobs: messages go out again, calls go to the third party again, parked orders go on, doubts are
settled, held messages released, and orders compared with the third party's books.

What changes an order is one transaction with its record under the job's id: an order that comes a second time,
because another process took over, counts as done. A comparison changes nothing at the third party: one that is done
twice harms nobody.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from datetime import timedelta
from functools import partial
from typing import Any, Final

from eventsourcing.persistence import MapperDeserialisationError

from adapters.kafka.producer.republisher import KafkaRepublisher, ManyOrders, Sent
from adapters.operations.interventions import InterventionService
from adapters.operations.jobs.runner import Handled, Handler, JobFailed, JobKind
from adapters.operations.quarantine import QuarantineService
from adapters.operations.reconciliation.reconciler import ReconcileCounts, Reconciler
from adapters.postgres.event_store import OrderApplication
from adapters.postgres.parking import PostgresParking
from adapters.postgres.replays import PostgresReplays, Streams
from adapters.records.actions import ReplayRecord
from adapters.records.errors import (
    DoneBefore,
    KafkaUnreachable,
    NonceUsed,
    NothingToDo,
    NotOpen,
    StillUnreadable,
    UnderWay,
    UnknownOrder,
    UnknownQuarantined,
)
from adapters.records.jobs import ComparisonFinding, JobClaim
from adapters.records.publishing import Outgoing
from projections import republication
from projections.reconciliation import Finding, Verdict
from projections.republication import republications

MAX_SILENT_STEPS: Final = 3
"""Steps of a comparison in a row in which no lookup was answered; then it is given up."""
SILENCE_PAUSE_SECONDS: Final = 2.0

MakeQuarantine = Callable[[OrderApplication], QuarantineService]
MakeInterventions = Callable[[OrderApplication], InterventionService]
Decide = Callable[..., Awaitable[object]]
"""About one order, `asked` for under a `bulk_id`."""


def retrying(parking: PostgresParking) -> JobKind:
    return JobKind(lambda job: nullcontext(_Retrying(job, parking)))


def redelivering(replays: PostgresReplays, key_retention: timedelta) -> JobKind:
    def opened(job: JobClaim) -> AbstractAsyncContextManager[Handler]:
        async def redeliver(order_id: int) -> None:
            record = ReplayRecord(job.id, order_id, republication.Mode.REDELIVER, job.asked, is_bulk=True)
            if await replays.redeliver(record, job.options, key_retention) is None:
                raise NothingToDo("it has no events")

        return nullcontext(_OneByOne(redeliver))

    return JobKind(opened)


def settling(make_store: Callable[[], OrderApplication], make: MakeInterventions) -> JobKind:
    """With a store of its own for as long as one runs."""
    return _deciding(make_store, lambda store: make(store).settle)


def releasing(make_store: Callable[[], OrderApplication], make: MakeInterventions) -> JobKind:
    """As `settling`. All that is missing is given up."""
    return _deciding(make_store, lambda store: make(store).release)


def reading_again(make_store: Callable[[], OrderApplication], make: MakeQuarantine) -> JobKind:
    """Of messages in quarantine, as they came."""
    return _deciding(make_store, lambda store: _once(make(store).retry, "retried"))


def discarding(make_store: Callable[[], OrderApplication], make: MakeQuarantine) -> JobKind:
    """Of messages in quarantine."""
    return _deciding(make_store, lambda store: _once(make(store).discard, "discarded"))


def _once(act: Decide, state: str) -> Decide:
    """A message that is in this state already, because another process took over, counts as done."""

    async def acted(quarantine_id: int, **how: Any) -> None:
        try:
            await act(quarantine_id, **how)
        except NotOpen as error:
            if error.state != state:
                raise

    return acted


def republishing(replays: PostgresReplays, republisher: KafkaRepublisher, topics: Sequence[str]) -> JobKind:
    """`topics` are those that the service reads."""

    @asynccontextmanager
    async def opened(job: JobClaim) -> AsyncIterator[Handler]:
        many_orders = republisher.many_orders()
        try:
            yield _Republishing(job, replays, republisher, many_orders, topics)
        finally:
            await asyncio.to_thread(many_orders.close)

    return JobKind(opened)


def comparing(
    reconciler: Callable[[float], AbstractAsyncContextManager[Reconciler]],
    *,
    silence_pause_seconds: float = SILENCE_PAUSE_SECONDS,
) -> JobKind:
    """`reconciler` opens what compares, at so many lookups a second."""

    @asynccontextmanager
    async def opened(job: JobClaim) -> AsyncIterator[Handler]:
        async with reconciler(job.rate_per_second) as opened:
            yield _Comparing(opened)

    return JobKind(opened, steps_per_second=1, pause_seconds=silence_pause_seconds, can_be_dropped=True)


def _deciding(make_store: Callable[[], OrderApplication], decide: Callable[[OrderApplication], Decide]) -> JobKind:
    @asynccontextmanager
    async def opened(job: JobClaim) -> AsyncIterator[Handler]:
        store = make_store()
        try:
            yield _OneByOne(partial(decide(store), asked=job.asked, bulk_id=job.id))
        finally:
            await asyncio.to_thread(store.close)

    return JobKind(opened)


class _OneByOne:
    def __init__(self, act: Callable[[int], Awaitable[object]]) -> None:
        self._act = act

    async def handle(self, order_ids: Sequence[int], halted: Callable[[], bool]) -> Handled:
        done, failed, waits = set[int](), dict[int, str](), None
        for order_id in order_ids:
            if halted():
                break
            try:
                with suppress(DoneBefore):
                    await self._act(order_id)
            except (UnknownOrder, NothingToDo, NonceUsed, UnknownQuarantined, NotOpen, StillUnreadable) as error:
                failed[order_id] = str(error)
            except UnderWay as error:
                waits = str(error)
            else:
                done.add(order_id)
        return Handled(done, failed, waits)


class _Retrying:
    def __init__(self, job: JobClaim, parking: PostgresParking) -> None:
        self._job = job
        self._parking = parking

    async def handle(self, order_ids: Sequence[int], halted: Callable[[], bool]) -> Handled:  # noqa: ARG002 - it is one transaction
        failed = await self._parking.retry_many(order_ids, self._job.asked, self._job.id)
        return Handled(done=set(order_ids) - failed.keys(), failed=failed)


class _Republishing:
    def __init__(
        self,
        job: JobClaim,
        replays: PostgresReplays,
        republisher: KafkaRepublisher,
        many_orders: ManyOrders,
        topics: Sequence[str],
    ) -> None:
        self._job = job
        self._replays = replays
        self._republisher = republisher
        self._many_orders = many_orders
        self._topics = topics
        self._topics_there: set[str] = set()

    async def handle(self, order_ids: Sequence[int], halted: Callable[[], bool]) -> Handled:
        streams = await self._replays.streams(order_ids)
        plans, failed = await asyncio.to_thread(self._plans, order_ids, streams)
        try:
            await self._check_topics({each.topic for plan in plans.values() for each in plan})
        except KafkaUnreachable as error:
            return Handled(failed=failed, waits=str(error))
        await self._record({order_id: len(plan) for order_id, plan in plans.items()})
        sent = await asyncio.to_thread(self._many_orders.publish, plans, halted)
        short = {each: sent[each] for each in plans if sent[each].confirmed < len(plans[each])}
        if short:
            await self._record({order_id: each.confirmed for order_id, each in short.items()})
            self._topics_there.clear()
        return Handled(
            done=plans.keys() - short.keys(),
            failed=failed | {order_id: str(each.error) for order_id, each in short.items() if each.is_own_fault},
            waits=_why(short),
        )

    def _plans(
        self, order_ids: Iterable[int], streams: Streams
    ) -> tuple[Mapping[int, Sequence[Outgoing]], dict[int, str]]:
        plans, failed = dict[int, list[Outgoing]](), dict[int, str]()
        replay_id = str(self._job.id)
        for order_id in order_ids:
            match streams.get(order_id):
                case None:
                    failed[order_id] = "it has no events"
                case MapperDeserialisationError() as error:
                    failed[order_id] = str(error)
                case events:
                    plans[order_id] = [
                        Outgoing(each.topic, each.key, each.message.body, each.headers(replay_id))
                        for each in republications(events, self._topics)
                    ]
        return plans, failed

    async def _check_topics(self, topics: set[str]) -> None:
        """A broker may make a topic that isn't there, with partitions of its choice: so we ask first."""
        if new := topics - self._topics_there:
            await asyncio.to_thread(self._republisher.partitions_of, new)
            self._topics_there |= new

    async def _record(self, items: Mapping[int, int]) -> None:
        await self._replays.record_bulk(self._job.id, republication.Mode.REPUBLISH, self._job.asked, items)


def _why(short: Mapping[int, Sent]) -> str | None:
    waiting = [str(each.error or "not confirmed yet") for each in short.values() if not each.is_own_fault]
    return waiting[0] if waiting else None


class _Comparing:
    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler
        self._silent = 0

    async def handle(self, order_ids: Sequence[int], halted: Callable[[], bool]) -> Handled:  # noqa: ARG002 - it is dropped then
        findings = await self._reconciler.compare(order_ids, ReconcileCounts())
        if all(each.is_outage for each in findings):
            self._silent += 1
            note = findings[-1].detail or ""
            if self._silent >= MAX_SILENT_STEPS:
                raise JobFailed(note)
            return Handled(waits=note)
        self._silent = 0
        return compared(findings)


def compared(findings: Sequence[Finding]) -> Handled:
    """What a step of a comparison has come to; what agrees is only counted."""
    shown = [_finding(each) for each in findings if each.verdict is not Verdict.AGREES or not each.is_known]
    verdicts = Counter(each.verdict for each in findings)
    return Handled({each.order_id for each in findings}, verdicts=verdicts, findings=shown)


def _finding(finding: Finding) -> ComparisonFinding:
    verdict, ours, theirs = finding.comparison
    notes = [finding.detail] if finding.detail else []
    notes += [f"broken: {', '.join(finding.broken)}; its calls are stopped"] if finding.broken else []
    notes += [] if finding.is_known else ["neither side knows it"]
    return ComparisonFinding(finding.order_id, verdict, ours, theirs, "; ".join(notes) or None)
