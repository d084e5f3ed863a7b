"""Tracers and their exporters. Spans wait in bounded queues; what the collector doesn't take in time is dropped."""

import logging
import platform
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Self

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Tracer

from adapters.kafka.consumer.intake import Intake, Limits
from adapters.observability.tracing.calls import Contexts, RememberedContexts, TracedLedger, TracedThirdParty
from adapters.observability.tracing.context import traceparent
from adapters.observability.tracing.intake import MAX_LINKS, TracedIntake
from adapters.observability.version import VERSION
from domain.decision import Policy
from domain.money import Till
from domain.ports import OrderStore
from projections.delivery.ports import Ledger, ThirdParty

SERVICE_NAME: Final = "order-cashback-integration"
"""Unless OTEL_SERVICE_NAME says something else."""
MAX_QUEUED_CALLS: Final = 2048
MAX_EXPORTED_CALLS: Final = 512
"""In one request to the collector."""
MAX_QUEUED_BATCHES: Final = 64
MAX_EXPORTED_BATCHES: Final = 16
EXPORT_SECONDS: Final = 2.0
"""The longest that a span waits to be sent while there are few."""
EXPORT_TIMEOUT_SECONDS: Final = 10.0
EXPORTERS: Final = "opentelemetry.exporter"
"""Their loggers. While the collector is away they would warn of every single attempt."""
FLUSH_SECONDS: Final = 3.0
"""For what is in the queues when the process stops."""


class Tracing:
    """One process's traces.

    `OTEL_TRACES_SAMPLER`, `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` are the SDK's to read.
    """

    def __init__(self, make_exporter: Callable[[], SpanExporter], roles: Iterable[str], build: str) -> None:
        logging.getLogger(EXPORTERS).setLevel(logging.ERROR)
        self._make_exporter = make_exporter
        self._providers: list[TracerProvider] = []
        self._resource = Resource.create(
            {
                "service.version": VERSION,
                "cashback.build": build,
                "cashback.roles": sorted(roles),
                "process.runtime.version": platform.python_version(),
            }
        )
        if str(self._resource.attributes["service.name"]).startswith("unknown_service"):
            self._resource = self._resource.merge(Resource({"service.name": SERVICE_NAME}))

    @classmethod
    def exporting(cls, endpoint: str | None, roles: Iterable[str], build: str) -> Self:
        """By OTLP, http/protobuf; without an endpoint to where OpenTelemetry's own variables say."""
        return cls(lambda: OTLPSpanExporter(endpoint, timeout=EXPORT_TIMEOUT_SECONDS), roles, build)

    def intake(self, group: str, store: OrderStore, *, policy: Policy, limits: Limits, till: Till) -> Intake:
        """With a tracer of its own: spans with so many links need a short queue."""
        tracer = self._tracer(MAX_QUEUED_BATCHES, MAX_EXPORTED_BATCHES)
        return TracedIntake(store, policy=policy, limits=limits, till=till, tracer=tracer, group=group)

    def delivery(
        self, ledger: Ledger, third_party: ThirdParty, contexts: Contexts, url: str
    ) -> tuple[Ledger, ThirdParty]:
        """The same two with a span for each attempt; `url` is the third party's."""
        remembered = RememberedContexts()
        tracer = self._tracer(MAX_QUEUED_CALLS, MAX_EXPORTED_CALLS)
        return TracedLedger(ledger, contexts, remembered), TracedThirdParty(third_party, url, tracer, remembered)

    @staticmethod
    def headers_of_request() -> Mapping[str, str]:
        """`traceparent` of the span that we are in."""
        return traceparent()

    def lookups(self, third_party: ThirdParty, url: str) -> ThirdParty:
        """The same with a span for each lookup, in a trace of its own."""
        return TracedThirdParty(third_party, url, self._tracer(MAX_QUEUED_CALLS, MAX_EXPORTED_CALLS))

    def stop(self, within_seconds: float = FLUSH_SECONDS) -> None:
        """Sends what waits, if that takes no longer."""
        threads = [threading.Thread(target=each.shutdown, name="traces", daemon=True) for each in self._providers]
        ends = time.monotonic() + within_seconds
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, ends - time.monotonic()))

    def _tracer(self, max_queued: int, max_exported: int) -> Tracer:
        provider = TracerProvider(
            resource=self._resource, span_limits=SpanLimits(max_links=MAX_LINKS), shutdown_on_exit=False
        )
        provider.add_span_processor(
            BatchSpanProcessor(
                self._make_exporter(),
                max_queue_size=max_queued,
                max_export_batch_size=max_exported,
                schedule_delay_millis=EXPORT_SECONDS * 1000,
            )
        )
        self._providers.append(provider)
        return provider.get_tracer("cashback", VERSION)
