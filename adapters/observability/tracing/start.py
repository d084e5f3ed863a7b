"""Whether this process traces, and whereto."""

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

import structlog

from adapters.settings import PREFIX, Settings
from domain.errors import BadSetting

if TYPE_CHECKING:
    from adapters.observability.tracing.tracer import Tracing

TRACES_PATH: Final = "/v1/traces"
_STANDARD: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

log = structlog.get_logger(__name__)


def start_tracing(
    settings: Settings, roles: Iterable[str], environment: Mapping[str, str] = os.environ
) -> "Tracing | None":
    """None unless an endpoint is given, by our setting or by OpenTelemetry's own variables; ours goes first.

    Raises BadSetting if ours is given and the extra `otel` isn't installed. The standard variables may have been
    set for all programs on a machine: there it's only logged.
    """
    wanted = settings.otel_endpoint is not None or any(environment.get(name) for name in _STANDARD)
    if not wanted or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from adapters.observability.tracing.tracer import Tracing  # noqa: PLC0415 - not where there are no traces
    except ImportError as error:
        if settings.otel_endpoint is None:
            log.warning("no traces: the extra `otel` isn't installed", missing=error.name)
            return None
        raise BadSetting(f"{PREFIX}OTEL_ENDPOINT: needs the extra `otel`, which isn't installed") from None
    endpoint = None if settings.otel_endpoint is None else settings.otel_endpoint + TRACES_PATH
    return Tracing.exporting(endpoint, roles, settings.build)
