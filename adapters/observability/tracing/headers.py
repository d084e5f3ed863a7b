"""Where a message's headers hold its trace context."""

from collections.abc import Iterable
from typing import Final

_NAMES: Final = {
    "traceparent": "traceparent",
    "tracestate": "tracestate",
    "ce_traceparent": "traceparent",
    "ce_tracestate": "tracestate",
}
"""Kafka's own, or CloudEvents' distributed tracing extension in binary mode."""


def trace_context(headers: Iterable[tuple[str, str | bytes | None]]) -> dict[str, str]:
    """`traceparent` and `tracestate`, where they are there: Kafka's own before those of CloudEvents."""
    found: dict[str, str] = {}
    of_cloud_event: dict[str, str] = {}
    for header, value in headers:
        name = _NAMES.get(header)
        if name is None or value is None:
            continue
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        (found if header == name else of_cloud_event).setdefault(name, text)
    return found if "traceparent" in found else of_cloud_event
