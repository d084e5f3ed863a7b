"""Logs: one JSON object a line, or lines for people on a terminal. Never a token, a body or a buyer."""

import logging
import sys
import time
from collections.abc import Callable, MutableMapping
from enum import Enum
from typing import Any, Final, Literal, TextIO

import structlog

from adapters.observability.repeated_troubles import REPEATED, RepeatedTroubles

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure_logs(
    level: Literal["debug", "info", "warning", "error"] = "info",
    form: Literal["auto", "json", "console"] = "auto",
    stream: TextIO = sys.stderr,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Sends our own logs and those of the libraries to one place, in one form; the same trouble once a minute."""
    troubles = RepeatedTroubles(clock)
    for_people = form == "console" or (form == "auto" and stream.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering: list[Any] = (
        # Plain: the richer trace shows local variables, and so tokens and buyers.
        [_without_enums, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if for_people
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[troubles.ours, *shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.addFilter(troubles.theirs)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder([REPEATED])],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(_LEVELS[level], logging.WARNING))


def _without_enums(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Their values in their place, as in JSON: within a list a person would see `<Role.API: 'api'>`."""
    for name, value in event.items():
        if isinstance(value, list | tuple):
            event[name] = [each.value if isinstance(each, Enum) else each for each in value]
    return event
