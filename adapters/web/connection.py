"""One connection of a caller: how long it may take, and what happens when there are too many.

uvicorn waits for ever for a head or a body that doesn't come whole, and accepts whoever asks. Four hundred callers
that say nothing then take every file descriptor of the process, and the parts that pay get none.
"""

import time
from asyncio import TimerHandle, Transport
from collections.abc import Callable
from typing import ClassVar, Final

import h11
import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS: Final = 10.0
"""From a connection, or from the first byte of a further request, to the end of the request's head."""
BODY_SECONDS: Final = 60.0
"""From there to the end of its body: MAX_LARGE_FORM_BYTES come by half a megabit a second."""
MAX_HEAD_BYTES: Final = 16 * 1024
TOLD_EVERY_SECONDS: Final = 60.0

_TOO_SLOW: Final = (
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\nCache-Control: no-store\r\n\r\n"
)

log = structlog.get_logger(__name__)


class ConnectionLimit:
    """How many connections there may be at a time. Where it is reached says one line a minute."""

    def __init__(self, max_connections: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_connections = max_connections
        self._clock = clock
        self._told_at = -TOLD_EVERY_SECONDS
        self._closed = 0

    def closed_one(self) -> None:
        self._closed += 1
        if self._clock() >= self._told_at + TOLD_EVERY_SECONDS:
            log.warning(
                "too many connections: the oldest idle ones are closed",
                closed=self._closed,
                limit=self.max_connections,
            )
            self._told_at, self._closed = self._clock(), 0


class LimitedConnection(H11Protocol):
    """With a time for each part of a request. For one more than the limit allows, whoever has kept us waiting the
    longest has to go; a request that we are at work on never does."""

    limit: ClassVar[ConnectionLimit]
    _timer: TimerHandle | None = None
    _waits_for: str | None = None
    _waits_since: float = 0.0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._wait("head", HEAD_SECONDS)
        if len(self.connections) > self.limit.max_connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait(None)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if self.transport.is_closing():
            self._wait(None)
        elif self.conn.their_state is h11.SEND_BODY:
            self._wait("body", BODY_SECONDS)
        elif self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._wait("head", HEAD_SECONDS)
        else:  # the request is whole, or there is none: uvicorn ends idle connections by itself
            self._wait(None)

    def on_response_complete(self) -> None:
        self._waits_since = self.loop.time()
        super().on_response_complete()

    def _wait(self, what: str | None, seconds: float = 0.0) -> None:
        """What has begun before keeps its time, however many bytes come."""
        if what == self._waits_for:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._waits_for, self._waits_since = what, self.loop.time()
        self._timer = None if what is None else self.loop.call_later(seconds, self._too_slow)

    def _too_slow(self) -> None:
        if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            self.transport.write(_TOO_SLOW)
        self.transport.close()

    def _make_room(self) -> None:
        waiting = [
            each for each in self.connections if isinstance(each, LimitedConnection) and each.keeps_us_waiting
        ]
        min(waiting, key=lambda each: each._waits_since).transport.abort()  # noqa: SLF001 - of our own class
        self.limit.closed_one()

    @property
    def keeps_us_waiting(self) -> bool:
        """It is us who wait for the caller."""
        is_idle = self.cycle is None or self.cycle.response_complete
        return not self.transport.is_closing() and (is_idle or self.conn.their_state is h11.SEND_BODY)


def connections_within(limit: ConnectionLimit) -> type[LimitedConnection]:
    """As uvicorn takes it: a class, of which it makes one for each connection."""
    return type("_Connection", (LimitedConnection,), {"limit": limit})
