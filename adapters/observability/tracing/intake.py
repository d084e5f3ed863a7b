"""Intake with a span for each batch, linked to the messages in it.

As OpenTelemetry's conventions for messaging have it for messages that are processed together: the batch is no part
of any message's trace, but it's linked to all of them.
"""

from collections.abc import Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer

from adapters.kafka.consumer.intake import BatchOutcome, Decided, Intake, Limits
from adapters.kafka.decoding.record import Record
from adapters.observability.tracing.context import remote_span
from adapters.observability.tracing.headers import trace_context
from domain.decision import Policy
from domain.money import Till
from domain.ports import OrderStore, StaleOrder

MAX_LINKS: Final = 1000
"""Of one batch's span; about 0.6 kB each while it waits to be sent."""


class TracedIntake(Intake):
    """Traces what it stores. Nothing of what a message says gets into the span."""

    def __init__(  # noqa: PLR0913 - what every intake has, and two more
        self, store: OrderStore, *, policy: Policy, limits: Limits, till: Till, tracer: Tracer, group: str
    ) -> None:
        super().__init__(store, policy=policy, limits=limits, till=till)
        self._tracer = tracer
        self._group = group

    def commit(self, decided: Decided) -> None:
        try:
            super().commit(decided)
        except StaleOrder:
            raise  # it is decided anew, and has its span then
        except Exception as error:
            self._trace(decided, error)
            raise
        self._trace(decided, None)

    def _trace(self, decided: Decided, error: Exception | None) -> None:
        records = [record for record, _ in decided.read]
        topics = sorted({record.partition.topic for record in records})
        span = self._tracer.start_span(
            f"process {','.join(topics)}",
            context=Context(),
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": ",".join(topics),
                "messaging.consumer.group.name": self._group,
                "messaging.batch.message_count": len(records),
                "cashback.partitions": len({record.partition for record in records}),
            },
            links=_links(records),
            start_time=decided.began_ns,
        )
        if error is None:
            _describe(span, decided.outcome)
        else:  # without its words: a database's error may quote a row
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR))
        span.end()


def _links(records: Sequence[Record]) -> list[Link]:
    """To the messages whose publisher wants to see them in traces."""
    links = []
    for record in records:
        headers = trace_context(record.headers)
        if not headers:
            continue
        context = remote_span(headers)
        if context is not None and context.trace_flags.sampled:
            links.append(Link(context))
            if len(links) == MAX_LINKS:
                break
    return links


def _describe(span: Span, outcome: BatchOutcome) -> None:
    if span.is_recording():
        for decision, count in outcome.decisions.items():
            span.set_attribute(f"cashback.decisions.{decision}", count)
        span.set_attribute("cashback.quarantined", outcome.quarantined.total())
