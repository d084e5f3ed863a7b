"""The order service, played: publishes whole lifecycles at a rate a person can watch, or as fast as it goes."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from adapters.kafka.producer.order_publisher import Publishing
from adapters.kafka.producer.publisher import PublishError
from adapters.records.publishing import Delivered, Outgoing
from sandbox.order_service.chaos import Chaos, Departure, Disorder, Stage
from sandbox.order_service.lifecycles import COMPRESSED, Schedule, lifecycles

LIFECYCLE_SECONDS = 5.0
PROGRESS_INTERVAL_SECONDS = 0.25
FLUSH_TIMEOUT_SECONDS = 60.0
STOPPED_FLUSH_TIMEOUT_SECONDS = 5.0
ALL_CONFIRMED = "all confirmed"
"""What the command `simulate` logs when nothing failed, with `topic` and `next_offsets`; the demo reads it."""
_WAIT_SLICE_SECONDS = 0.1
_NS_PER_SECOND = 10**9


@dataclass(frozen=True, slots=True)
class Progress:
    """Counts of what the broker has confirmed. A `failed` message leaves a hole in its order's lifecycle."""

    orders_started: int = 0
    orders_finished: int = 0
    messages: int = 0
    """Of lifecycles, each once; copies and poison are not among them."""
    failed: int = 0
    """Of all records."""
    last_error: str | None = None
    disorder: Mapping[Disorder, int] = field(default_factory=dict)
    """What was done to the records that were handed over."""
    next_offsets: Mapping[int, int] = field(default_factory=dict, compare=False)
    """By partition: all that was confirmed lies before."""


class BatchPublishing(Publishing, Protocol):
    """What the order service needs of it, and with its meaning."""

    def poll(self) -> None: ...
    def flush(self, timeout_seconds: float) -> None: ...


class Clock(Protocol):
    """Time, so that a test can have its own."""

    def time_ns(self) -> int: ...
    def monotonic(self) -> float: ...
    def wait(self, stop: threading.Event, seconds: float) -> None: ...


class SystemClock:
    """The machine's clocks."""

    def time_ns(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, stop: threading.Event, seconds: float) -> None:
        """Returns early if `stop` is set."""
        stop.wait(seconds)


_SYSTEM_CLOCK = SystemClock()
NO_CHAOS = Chaos()


def simulate(  # noqa: PLR0913  # each is an option of the command, and all but two are named at the call
    publisher: BatchPublishing,
    topic: str,
    *,
    orders: int | None,
    rate: float | None,
    seed: int,
    first_order_id: int,
    stamped: bool,
    stop: threading.Event,
    progress: Callable[[Progress], None] | None = None,
    clock: Clock = _SYSTEM_CLOCK,
    chaos: Chaos = NO_CHAOS,
) -> Progress:
    """Publishes the lifecycles of `orders` orders (None: until `stop`) and returns what became of them.

    `rate` is in orders a second; each then lives for LIFECYCLE_SECONDS at most. None is as fast as the broker
    takes them. Setting `stop` leaves open orders open. A message that can't be sent is counted, and the others
    go on: the caller who would rather give up sets `stop` when `progress` says so. With `chaos` the records
    leave in disorder; growing the topic is the publisher's part. Raises ValueError for a rate, a number of
    orders or an order id that makes no sense.
    """
    if rate is not None and not 0 < rate < float("inf"):
        raise ValueError(f"a rate is a number of orders a second above zero, not {rate}")
    started_at_ns = clock.time_ns()
    schedule = schedule_of(rate)
    messages = lifecycles(
        seed,
        orders,
        first_order_id=first_order_id,
        started_at_ns=started_at_ns,
        schedule=schedule,
        stamped=stamped,
        returns=Disorder.RETURNS in chaos.kinds,
    )
    stage = Stage(chaos, seed, schedule, first_order_id)
    run = _Run(publisher, topic, stop, progress, clock, stage)
    return run.publish(stage.disturb(messages), paced_from_ns=started_at_ns if rate else None)


def schedule_of(rate: float | None) -> Schedule:
    """The pace of a run at so many orders a second, or of one as fast as the broker takes them."""
    return Schedule.of(rate, LIFECYCLE_SECONDS) if rate else COMPRESSED


class _Run:
    def __init__(  # noqa: PLR0913, PLR0917 - what `simulate` was given
        self,
        publisher: BatchPublishing,
        topic: str,
        stop: threading.Event,
        progress: Callable[[Progress], None] | None,
        clock: Clock,
        stage: Stage,
    ) -> None:
        self._publisher = publisher
        self._topic = topic
        self._stop = stop
        self._progress = progress
        self._clock = clock
        self._stage = stage
        self._next_report = clock.monotonic() + PROGRESS_INTERVAL_SECONDS
        self._handed_over = self._settled = self._started = self._finished = self._messages = self._failed = 0
        self._last_error: str | None = None
        self._next_offsets: dict[int, int] = {}

    def publish(self, departures: Iterable[Departure], *, paced_from_ns: int | None) -> Progress:
        """Sends each record when its time comes (counted from `paced_from_ns`), or all at once."""
        began = self._clock.monotonic()
        for departure in departures:
            if paced_from_ns is not None:
                self._wait_until(began + (departure.leaves_at_ns - paced_from_ns) / _NS_PER_SECOND)
            if self._stop.is_set():
                break
            self._send(departure)
            self._report_now_and_then()
        stopped = self._stop.is_set()
        try:
            self._publisher.flush(STOPPED_FLUSH_TIMEOUT_SECONDS if stopped else FLUSH_TIMEOUT_SECONDS)
        except PublishError as error:
            self._last_error = str(error)
            self._failed += self._handed_over - self._settled
        return self._report()

    def _wait_until(self, due: float) -> None:
        while (seconds := due - self._clock.monotonic()) > 0 and not self._stop.is_set():
            self._publisher.poll()
            self._report_now_and_then()
            self._clock.wait(self._stop, min(seconds, _WAIT_SLICE_SECONDS))

    def _send(self, departure: Departure) -> None:
        self._handed_over += 1
        outgoing = Outgoing(self._topic, departure.key, departure.value, departure.headers)
        try:
            self._publisher.publish(outgoing, partial(self._settle, departure))
        except PublishError as error:
            self._settle(departure, error)

    def _settle(self, departure: Departure, verdict: Delivered | PublishError) -> None:
        self._settled += 1
        if isinstance(verdict, PublishError):
            self._failed += 1
            self._last_error = str(verdict)
            return
        partition, following = verdict.partition, verdict.offset + 1
        self._next_offsets[partition] = max(following, self._next_offsets.get(partition, 0))
        if departure.message is None or departure.is_copy:
            return
        self._messages += 1
        if departure.message.kind == "CREATED":
            self._started += 1
        elif departure.message.kind in {"COMPLETED", "CANCELLED"} and not departure.message.is_return:
            self._finished += 1

    def _report_now_and_then(self) -> None:
        if self._clock.monotonic() >= self._next_report:
            self._next_report = self._clock.monotonic() + PROGRESS_INTERVAL_SECONDS
            self._report()

    def _report(self) -> Progress:
        now = Progress(
            self._started,
            self._finished,
            self._messages,
            self._failed,
            self._last_error,
            dict(self._stage.counts),
            dict(self._next_offsets),
        )
        if self._progress is not None:
            self._progress(now)
        return now
