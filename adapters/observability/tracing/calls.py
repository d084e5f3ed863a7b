"""Calls with a span for each attempt, in the trace of the message whose decision asks for the call.

The message's headers lie in the event store, so its trace goes on whenever, and from whatever process, the call is
sent. They are read for all calls of a claim at once.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from adapters.observability.tracing.context import context_of
from projections.delivery.ports import (
    Answer,
    Call,
    Claim,
    Found,
    Ledger,
    Lookup,
    NotFound,
    Outcome,
    Settlement,
    ThirdParty,
)
from projections.intended_calls import path_of

if TYPE_CHECKING:
    from uuid import UUID

MAX_REMEMBERED_ORDERS: Final = 10_000
Headers = Mapping[str, str]


class Contexts(Protocol):
    """Where the messages' contexts are."""

    async def trace_contexts(self, calls: Sequence[Call]) -> Mapping[tuple[int, int], Headers]:
        """By order id and version; those that can't be had are left out."""


class RememberedContexts:
    """The contexts of the orders that are claimed just now."""

    def __init__(self) -> None:
        self._of_orders: OrderedDict[int, tuple[UUID, dict[int, Headers]]] = OrderedDict()

    def remember(self, claims: Sequence[Claim], found: Mapping[tuple[int, int], Headers]) -> None:
        for claim in claims:
            versions = {
                call.version: found[claim.order_id, call.version]
                for call in claim.calls
                if (claim.order_id, call.version) in found
            }
            self._of_orders[claim.order_id] = claim.token, versions
        while len(self._of_orders) > MAX_REMEMBERED_ORDERS:
            self._of_orders.popitem(last=False)

    def forget(self, claim: Claim) -> None:
        """Unless the order has been claimed again since."""
        if claim.order_id in self._of_orders and self._of_orders[claim.order_id][0] == claim.token:
            del self._of_orders[claim.order_id]

    def of(self, order_id: int, version: int | None) -> Context:
        """Of a lookup, which has no version: that of the first call."""
        _, versions = self._of_orders.get(order_id, (None, {}))
        headers = versions.get(min(versions, default=0) if version is None else version)
        return Context() if headers is None else context_of(headers)


class TracedLedger:
    """A ledger that also finds the contexts of what it claims."""

    def __init__(self, ledger: Ledger, contexts: Contexts, remembered: RememberedContexts) -> None:
        self._ledger = ledger
        self._contexts = contexts
        self._remembered = remembered

    async def claim(self, limit: int, *, by_chance: bool = False) -> tuple[list[Claim], float | None]:
        claims, next_due_seconds = await self._ledger.claim(limit, by_chance=by_chance)
        calls = [call for claim in claims for call in claim.calls]
        if calls:
            self._remembered.remember(claims, await self._contexts.trace_contexts(calls))
        return claims, next_due_seconds

    async def settle(self, settlements: Sequence[Settlement]) -> int:
        lost = await self._ledger.settle(settlements)
        for settlement in settlements:
            self._remembered.forget(settlement.claim)
        return lost

    async def holds(self, claim: Claim) -> bool:
        return await self._ledger.holds(claim)

    async def free_doubtful(self) -> None:
        await self._ledger.free_doubtful()

    async def wait(self, timeout_seconds: float) -> None:
        await self._ledger.wait(timeout_seconds)


class TracedThirdParty:
    """Without remembered contexts each attempt begins a trace of its own."""

    def __init__(
        self, third_party: ThirdParty, url: str, tracer: Tracer, remembered: RememberedContexts | None = None
    ) -> None:
        self._third_party = third_party
        self._url = url
        self._tracer = tracer
        self._remembered = remembered or RememberedContexts()
        address = urlsplit(url)
        self._server: dict[str, str | int] = {
            "server.address": address.hostname or "",
            "server.port": address.port or (443 if address.scheme == "https" else 80),
        }

    async def send(self, call: Call) -> Answer:
        method, path = path_of(call.kind, call.order_id)
        _, template = path_of(call.kind, 0)
        more = {
            "cashback.call.kind": call.kind.value,
            "cashback.event_version": call.version,
            "cashback.idempotency_key": str(call.key),
        }
        with self._span(method, path, template.replace("/0", "/{orderId}"), call.order_id, call.version) as span:
            span.set_attributes(more)
            answer = await self._third_party.send(call)
            _describe(span, answer)
            return answer

    async def lookup(self, order_id: int) -> Lookup:
        with self._span("GET", f"/v1/cashbacks/{order_id}", "/v1/cashbacks/{orderId}", order_id, None) as span:
            found = await self._third_party.lookup(order_id)
            match found:
                case Answer():
                    _describe(span, found)
                case Found():
                    span.set_attribute("cashback.call.outcome", Outcome.FOUND.value)
                case NotFound():
                    span.set_attribute("cashback.call.outcome", Outcome.NOT_FOUND.value)
            return found

    @contextmanager
    def _span(self, method: str, path: str, template: str, order_id: int, version: int | None) -> Iterator[Span]:
        with self._tracer.start_as_current_span(
            f"{method} {template}",
            context=self._remembered.of(order_id, version),
            kind=SpanKind.CLIENT,
            attributes={
                "http.request.method": method,
                "url.full": self._url + path,
                "url.template": template,
                "cashback.order_id": order_id,
                **self._server,
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as error:  # a call that is given up, too
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(Status(StatusCode.ERROR))
                raise


def _describe(span: Span, answer: Answer) -> None:
    """What the other side says of it isn't told: it may name the buyer."""
    span.set_attribute("cashback.call.outcome", answer.outcome.value)
    if answer.status is not None:
        span.set_attribute("http.response.status_code", answer.status)
    if answer.outcome is not Outcome.DELIVERED:
        span.set_attribute("error.type", answer.outcome.value if answer.status is None else str(answer.status))
        span.set_status(Status(StatusCode.ERROR))
