"""The calls that the sandbox third party has seen, as many as fit."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

MAX_LOGGED_CALLS = 500_000
MAX_LOGGED_BODY_BYTES = 256 * 1024**2

Outcome = Literal["in_progress", "answered", "cut", "client_gone"]


def _still_there() -> bool:
    return False


def _nothing_to_close() -> None:
    pass


@dataclass(slots=True, eq=False)
class ReceivedCall:
    """One call. `order_id` is None where neither path nor body named one; `number` counts from 1 in order of
    arrival; `arrived_tick` is the books' tick at which its headers came.

    `client_gone` tells whether the caller has hung up, `hang_up` closes its connection. `abandoned`: whatever
    happens, don't apply it.
    """

    method: str
    path: str
    key: str | None
    order_id: int | None
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    transaction_date: str | None = None
    mutating: bool = True
    arrived_tick: int = 0
    client_gone: Callable[[], bool] = _still_there
    hang_up: Callable[[], None] = _nothing_to_close
    number: int = field(default=0, init=False)
    started_ns: int = field(default=0, init=False)
    ended_ns: int | None = field(default=None, init=False)
    outcome: Outcome = field(default="in_progress", init=False)
    status: int | None = field(default=None, init=False)
    applied: bool = field(default=False, init=False)
    hit: bool = field(default=False, init=False)
    abandoned: bool = field(default=False, init=False)

    def forget_client(self) -> None:
        """The log must not keep connections alive."""
        self.client_gone = _still_there
        self.hang_up = _nothing_to_close


class CallLog:
    """The newest calls; the oldest are dropped beyond either limit."""

    def __init__(self, *, max_calls: int = MAX_LOGGED_CALLS, max_body_bytes: int = MAX_LOGGED_BODY_BYTES) -> None:
        self._max_calls = max_calls
        self._max_body_bytes = max_body_bytes
        self._calls: deque[ReceivedCall] = deque()
        self._by_order: dict[int, list[ReceivedCall]] = {}
        self._body_bytes = 0
        self.last_number = 0

    @property
    def dropped(self) -> int:
        return self.last_number - len(self._calls)

    def append(self, call: ReceivedCall) -> None:
        """Numbers the call and keeps it."""
        self.last_number += 1
        call.number = self.last_number
        self._calls.append(call)
        self._body_bytes += len(call.body)
        if call.order_id is not None:
            self._by_order.setdefault(call.order_id, []).append(call)
        while len(self._calls) > self._max_calls or self._body_bytes > self._max_body_bytes:
            self._drop_oldest()

    def after(self, number: int, order_id: int | None = None) -> Iterator[ReceivedCall]:
        """The kept calls with a higher number, in order of arrival; of one order if it's named."""
        if order_id is not None:
            return (call for call in self._by_order.get(order_id, ()) if call.number > number)
        return islice(self._calls, max(0, number - self.dropped), None)

    def _drop_oldest(self) -> None:
        oldest = self._calls.popleft()
        self._body_bytes -= len(oldest.body)
        if oldest.order_id is not None:
            of_order = self._by_order[oldest.order_id]
            del of_order[0]
            if not of_order:
                del self._by_order[oldest.order_id]
