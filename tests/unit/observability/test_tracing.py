"""Spans of batches and calls: what is in them, whose children they are, and that nobody waits for them."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from adapters.kafka.consumer.intake import Intake, Limits
from adapters.kafka.decoding.record import Record
from adapters.observability.tracing import tracer as tracing_module
from adapters.observability.tracing.context import traceparent
from adapters.observability.tracing.headers import trace_context
from adapters.observability.tracing.tracer import Tracing
from adapters.records.publishing import Outgoing
from domain.decision import DEFAULT_POLICY
from domain.effects import EffectKind
from domain.messages import Kind
from domain.money import DEFAULT_TILL
from domain.ports import Partition, StoreUnavailable
from projections.delivery.ports import Answer, Call, Claim, Lookup, NotFound, Outcome, Settlement
from tests.support.memory_store import MemoryStore
from tests.support.traces import BUYER, SAMPLED, TRACE, UNSAMPLED, said
from tests.support.waiting import DEADLINE_SECONDS

P0: Final = Partition("orders", "some-id", 0)


def a_record(message: Outgoing, offset: int) -> Record:
    return Record(P0, offset, None, message.key, message.value, tuple(message.headers))


class Stuck(SpanExporter):
    """A collector that doesn't answer."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.asked = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.release.wait(DEADLINE_SECONDS)
        return SpanExportResult.SUCCESS


class Memory:
    """A ledger of one claim, its contexts, and a third party, all by hand."""

    def __init__(self, answer: Lookup, contexts: Mapping[tuple[int, int], Mapping[str, str]]) -> None:
        self.answer = answer
        self.contexts = contexts
        self.sent: list[Mapping[str, str]] = []
        self.asked = 0
        self.claims = [
            Claim(order_id, UUID(int=7), 0, 0, (Call(order_id, 1, EffectKind.CREATE, UUID(int=order_id), b"{}"),))
            for order_id in (1, 2)
        ]

    async def claim(self, limit: int, *, by_chance: bool = False) -> tuple[list[Claim], float | None]:
        return self.claims[:limit], None

    async def settle(self, settlements: Sequence[Settlement]) -> int:
        return 0

    async def wait(self, timeout_seconds: float) -> None: ...

    async def free_doubtful(self) -> None: ...

    async def holds(self, claim: Claim) -> bool:
        return True

    async def trace_contexts(self, calls: Sequence[Call]) -> Mapping[tuple[int, int], Mapping[str, str]]:
        self.asked += 1
        return self.contexts

    async def send(self, call: Call) -> Answer:
        self.sent.append(traceparent())
        assert isinstance(self.answer, Answer)
        return self.answer

    async def lookup(self, order_id: int) -> Lookup:
        self.sent.append(traceparent())
        return self.answer


def test_a_collector_that_does_not_answer_blocks_nobody() -> None:
    """What doesn't fit into the queue is dropped, and the process ends all the same."""
    exporter = Stuck()
    tracing = Tracing(lambda: exporter, ["push"], "test")
    world = Memory(Answer(Outcome.DELIVERED, 200, ""), {})
    _, third_party = tracing.delivery(world, world, world, "http://third.party")
    number = 3 * tracing_module.MAX_QUEUED_CALLS

    async def send_all() -> None:
        for _ in range(number):
            await third_party.send(world.claims[0].calls[0])

    try:
        asyncio.run(send_all())
        assert exporter.asked.wait(DEADLINE_SECONDS)
        tracing.stop(0.1)
        assert not exporter.release.is_set()
    finally:
        exporter.release.set()
    assert len(world.sent) == number


def test_the_call_of_a_claim_is_in_its_message_s_trace_until_it_is_settled() -> None:
    """The contexts of all calls of a claim are asked for at once; a call without one begins a trace."""
    exporter = InMemorySpanExporter()
    tracing = Tracing(lambda: exporter, ["push"], "test")
    world = Memory(Answer(Outcome.FAILED, 503, BUYER), {(1, 1): {"traceparent": SAMPLED}})

    async def deliver() -> None:
        ledger, third_party = tracing.delivery(world, world, world, "https://third.party/base")
        claims, _ = await ledger.claim(10)
        for claim in claims:
            await third_party.send(claim.calls[0])
        await third_party.lookup(1)
        await ledger.settle([Settlement(claim, (), 0, 1, 0.0) for claim in claims])
        await third_party.send(claims[0].calls[0])

    asyncio.run(deliver())
    tracing.stop()
    ours, other, lookup, late = exporter.get_finished_spans()
    assert world.asked == 1
    assert [f"{span.context.trace_id:032x}" == TRACE for span in (ours, other, lookup, late)] == [
        True,
        False,
        True,
        False,
    ]
    assert [each["traceparent"][3:-3] for each in world.sent] == [
        f"{span.context.trace_id:032x}-{span.context.span_id:016x}" for span in (ours, other, lookup, late)
    ]
    assert ours.kind is SpanKind.CLIENT
    assert not ours.status.is_ok
    assert dict(ours.attributes or {}) == {
        "http.request.method": "POST",
        "url.full": "https://third.party/base/v1/cashbacks",
        "url.template": "/v1/cashbacks",
        "server.address": "third.party",
        "server.port": 443,
        "cashback.order_id": 1,
        "cashback.event_version": 1,
        "cashback.call.kind": "create",
        "cashback.call.outcome": "failed",
        "cashback.idempotency_key": str(UUID(int=1)),
        "http.response.status_code": 503,
        "error.type": "503",
    }


def test_a_lookup_that_says_no_is_no_failure() -> None:
    """404 is an answer."""
    exporter = InMemorySpanExporter()
    tracing = Tracing(lambda: exporter, ["push"], "test")
    asyncio.run(lookup(tracing, Memory(NotFound(), {})))
    tracing.stop()
    (span,) = exporter.get_finished_spans()
    assert span.name == "GET /v1/cashbacks/{orderId}"
    assert (span.attributes or {})["cashback.call.outcome"] == "not_found"
    assert span.status.is_ok


async def lookup(tracing: Tracing, world: Memory) -> None:
    await tracing.lookups(world, "http://third.party").lookup(1)


class Away(MemoryStore):
    """Takes nothing."""

    def commit(self, batch: Any) -> None:
        raise StoreUnavailable(f"the row of {BUYER}")


def test_a_batch_that_is_not_stored_is_a_failed_span_without_the_reason_s_words() -> None:
    """A database quotes rows in its errors."""
    exporter = InMemorySpanExporter()
    tracing = Tracing(lambda: exporter, ["intake"], "test")
    intake = traced_intake(tracing, Away())
    with pytest.raises(StoreUnavailable):
        intake.handle([a_record(said(Kind.CREATED, 1, "t1", 1, SAMPLED), 0)])
    tracing.stop()
    (span,) = exporter.get_finished_spans()
    assert not span.status.is_ok
    assert (span.attributes or {})["error.type"] == "StoreUnavailable"
    assert BUYER not in span.to_json()


def test_a_batch_says_what_was_decided_and_is_linked_to_no_message_that_wants_no_trace() -> None:
    """Nonsense in the header is no link either; a batch has not more links than a span may hold."""
    exporter = InMemorySpanExporter()
    tracing = Tracing(lambda: exporter, ["intake"], "test")
    intake = traced_intake(tracing, MemoryStore())
    traces = [SAMPLED, UNSAMPLED, None]
    messages = [said(Kind.CREATED, number, "t", 1, trace) for number, trace in enumerate(traces, 1)]
    nonsense = Outgoing("orders", b"4", b"{", (("traceparent", b"00-\xff"),))
    intake.handle([a_record(each, offset) for offset, each in enumerate([*messages, nonsense])])
    tracing.stop()
    (span,) = exporter.get_finished_spans()
    assert [f"{link.context.trace_id:032x}" for link in span.links] == [TRACE]
    said_of_batch = span.attributes or {}
    assert said_of_batch["cashback.decisions.cashback-created"] == 3
    assert said_of_batch["cashback.quarantined"] == 1


def traced_intake(tracing: Tracing, store: MemoryStore) -> Intake:
    intake = tracing.intake("readers", store, policy=DEFAULT_POLICY, limits=Limits(), till=DEFAULT_TILL)
    intake.assign([P0])
    return intake


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((("traceparent", b"a"), ("tracestate", b"b")), {"traceparent": "a", "tracestate": "b"}),
        ((("ce_traceparent", b"c"), ("traceparent", b"a")), {"traceparent": "a"}),
        ((("ce_traceparent", "c"), ("tracestate", "b")), {"traceparent": "c"}),
        ((("traceparent", None), ("x", b"y")), {}),
        ((("traceparent", b"a"), ("traceparent", b"b")), {"traceparent": "a"}),
    ],
)
def test_a_message_s_context_is_kafka_s_or_else_cloudevents_own(headers: Any, expected: dict[str, str]) -> None:
    """The first header of a name counts, and both parts come from the same place."""
    assert trace_context(headers) == expected
