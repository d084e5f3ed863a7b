"""W3C Trace Context: what came with a message, and what goes out with a call."""

import re
from collections.abc import Mapping
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, TraceFlags, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_USUAL: Final = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_propagator: Final = TraceContextTextMapPropagator()


def context_of(headers: Mapping[str, str]) -> Context:
    """What `traceparent` and `tracestate` say; empty if that is nothing, or can't be read."""
    return _propagator.extract(headers, Context())


def remote_span(headers: Mapping[str, str]) -> SpanContext | None:
    """The span that sent them. Ten times as quick as the way through a Context, for the usual form."""
    usual = _USUAL.fullmatch(headers.get("traceparent", ""))
    if usual is None:
        found = get_current_span(context_of(headers)).get_span_context()
    else:
        trace_id, span_id, flags = (int(part, 16) for part in usual.groups())
        found = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return found if found.is_valid else None


def traceparent() -> Mapping[str, str]:
    """That of the span that we are in. Not `tracestate`: that is nobody's business outside."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    carrier.pop("tracestate", None)
    return carrier
