"""The same trouble again and again is one line, then one a minute that counts the others."""

import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, MutableMapping
from typing import Any, Final

import structlog

PAUSE_SECONDS: Final = 60.0
MAX_TROUBLES: Final = 1000
"""Of more than that the one told longest ago is forgotten."""
REPEATED: Final = "repeated"
"""The field with how many lines were left out since the last one."""
_LEVELS: Final = frozenset({"warning", "error", "critical"})
# What differs each time: how long it took, how often librdkafka has said it, and which client it was.
_VARIES: Final = re.compile(r"\d+(?:\.\d+)?(?= ?m?s\b| identical)|(?<=#consumer-)\d+|(?<=#producer-)\d+")


class RepeatedTroubles:
    """Of our own lines those with an `error`, unless with a trace; of the libraries' all. For any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._told: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def left_out(self, trouble: Hashable) -> int | None:
        """How many lines about it were left out since the last one; None if this one is to be left out, too."""
        now = self._clock()
        with self._lock:
            told_at, left_out = self._told.get(trouble, (-PAUSE_SECONDS, 0))
            if now - told_at < PAUSE_SECONDS:
                self._told[trouble] = told_at, left_out + 1
                return None
            self._told[trouble] = now, 0
            self._told.move_to_end(trouble)
            if len(self._told) > MAX_TROUBLES:
                self._told.popitem(last=False)
            return left_out

    def ours(self, _logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """As a processor of structlog."""
        if method not in _LEVELS or "error" not in event or event.get("exc_info"):
            return event
        left_out = self.left_out(tuple((name, _alike(value)) for name, value in sorted(event.items())))
        if left_out is None:
            raise structlog.DropEvent
        return {**event, REPEATED: left_out} if left_out else event

    def theirs(self, record: logging.LogRecord) -> bool:
        """As a filter of the standard library's."""
        if record.exc_info:
            return True
        left_out = self.left_out((record.name, record.levelno, _alike(record.getMessage())))
        if left_out:
            setattr(record, REPEATED, left_out)
        return left_out is not None


def _alike(value: object) -> str:
    return _VARIES.sub("", str(value))
