"""OpenTelemetry traces: from the order service's message through the decision to the call (docs/signals.md).

`start` decides whether there are any. Only it may be imported where there are none: the other modules need the
packages of the extra `otel`.
"""
