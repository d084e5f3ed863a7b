"""The numbers that the demo shows: asked of the service, the third party and the database, never often enough to
be in the way.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from statistics import quantiles
from typing import Any, Final, NamedTuple, Self

import httpx
import psycopg
from eventsourcing.persistence import StoredEvent
from prometheus_client.parser import text_string_to_metric_families

from adapters.postgres.codec import EventMapper
from adapters.postgres.connections import BoundedConnection, conninfo
from domain.events import MessageEvent
from domain.exact_json import InvalidJson, loads
from domain.identifiers import stream_id
from domain.ports import Partition
from sandbox.demo.settings import Scenario
from sandbox.demo.stack import Addresses

SAMPLE_SECONDS: Final = 1.0
MAX_SHARE_OF_TIME: Final = 0.05
"""A question that took long is asked again when it makes up no more than this."""
RATE_WINDOW_SECONDS: Final = 5.0
ANSWER_TIMEOUT_SECONDS: Final = 2.0
STATEMENT_TIMEOUT_SECONDS: Final = 10
LATENCY_CALLS: Final = 300
MIN_LATENCY_CALLS: Final = 2
NANOSECONDS_PER_MS: Final = 1_000_000

_STATE: Final = """
SELECT (SELECT count(*) FROM orders WHERE held > 0),
       (SELECT count(*) FROM orders WHERE doubts <> '{}'),
       (SELECT count(*) FROM delivery WHERE parked_at IS NOT NULL),
       (SELECT count(*) FROM quarantine WHERE state = 'open'),
       (SELECT coalesce(max(notification_id), 0) FROM stored_events),
       (SELECT min(notification_id) FROM projection_position),
       EXISTS (SELECT FROM delivery WHERE settled_version < head_version AND parked_at IS NULL),
       (SELECT coalesce(max(id), 0) FROM attempt),
       (SELECT count(*) FROM orders WHERE order_id >= %(first)s AND order_id < %(first)s + %(orders)s
           AND status IN ('COMPLETED', 'CANCELLED')),
       (SELECT coalesce(jsonb_agg(jsonb_build_array(topic, topic_id, partition, next_offset)), '[]')
        FROM kafka_position)
"""
_BY_STATUS: Final = "SELECT status, count(*), coalesce(sum(cashback), 0) FROM orders GROUP BY status"
_LAST_CALLS: Final = """
SELECT order_id, version, (extract(epoch FROM started_at) * 1000 + duration_ms)::float8
FROM (SELECT * FROM attempt ORDER BY id DESC LIMIT %s) AS last
WHERE outcome = 'delivered' AND order_id >= %s
"""
_EVENTS: Final = """
SELECT e.originator_id, e.originator_version, e.topic, e.state
FROM stored_events AS e JOIN unnest(%b::uuid[], %b::bigint[]) AS w (id, version)
  ON e.originator_id = w.id AND e.originator_version = w.version
"""
_mapper = EventMapper()


class Percentiles(NamedTuple):
    """Milliseconds."""

    p50: float
    p99: float


class Latency(NamedTuple):
    """Of the last delivered calls of this run, until the third party's answer was there."""

    calls: int
    from_decision: Percentiles
    from_date: Percentiles
    """From the message's transactionDate: the moment of publishing if the order service keeps to its pace."""


class State(NamedTuple):
    """One moment of the database."""

    held: int
    doubtful: int
    parked: int
    quarantined: int
    last_event: int
    projected: int
    calls_due: bool
    last_attempt: int
    run_orders_ended: int
    positions: list[tuple[str, str, int, int]]
    """Topic, topic id, partition, and the offset below which everything has been decided."""

    def has_read(self, published: Mapping[Partition, int]) -> bool:
        """Whether everything below these offsets has been decided, or lies in quarantine."""
        read = {Partition(topic, topic_id, number): offset for topic, topic_id, number, offset in self.positions}
        return all(read.get(partition, 0) >= offset for partition, offset in published.items())

    @property
    def at_rest(self) -> bool:
        """Nothing that is stored waits to be worked on, but for what is parked."""
        return self.projected >= self.last_event and not self.calls_due


@dataclass
class Numbers:
    """What was last heard; `silent` names who doesn't answer just now."""

    messages: int = 0
    decisions: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    """Attempts by outcome."""
    behind: int = 0
    messages_per_second: float = 0.0
    calls_per_second: float = 0.0
    by_status: dict[str, tuple[int, Decimal]] = field(default_factory=dict)
    books: Mapping[str, Any] = field(default_factory=dict)
    """The third party's totals; empty if it shows none."""
    state: State | None = None
    latency: Latency | None = None
    silent: set[str] = field(default_factory=set)

    @property
    def moves(self) -> tuple[Any, ...]:
        """Differs whenever anything has been done."""
        return self.messages, self.state, self.books.get("calls")


class Sampler:
    """Use as a context manager. One that doesn't answer costs ANSWER_TIMEOUT_SECONDS, and its numbers stay."""

    def __init__(self, addresses: Addresses, scenario: Scenario) -> None:
        self.numbers = Numbers()
        self._addresses = addresses
        self._run = {"first": scenario.first_order_id, "orders": scenario.orders or 0}
        self._http = httpx.Client(timeout=ANSWER_TIMEOUT_SECONDS, trust_env=False)
        self._connection: psycopg.Connection[Any] | None = None
        self._messages, self._calls = _Rate(), _Rate()
        self._questions = [
            _Question("service", self._ask_service),
            _Question("third party", self._ask_third_party),
            _Question("database", self._ask_state),
            _Question("database", self._ask_orders),
            _Question("database", self._ask_latency),
        ]

    def sample(self, *, everything: bool = False) -> Numbers:
        """Asks what is due to be asked again, or everything."""
        now = time.monotonic()
        for question in self._questions:
            if everything or question.due_at <= now:
                if question.ask():
                    self.numbers.silent.discard(question.whom)
                else:
                    self.numbers.silent.add(question.whom)
        return self.numbers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        if self._connection is not None:
            self._connection.close()

    def _ask_service(self) -> None:
        answer = self._http.get(f"{self._addresses.api_url}/metrics").raise_for_status()
        numbers = self.numbers
        decisions, calls, messages, behind = Counter[str](), Counter[str](), 0.0, 0.0
        for family in text_string_to_metric_families(answer.text):
            for name, labels, value, *_ in family.samples:
                match name:
                    case "cashback_intake_messages_total":
                        messages += value
                    case "cashback_decisions_total":
                        decisions[labels["decision"]] += int(value)
                    case "cashback_call_attempts_total":
                        calls[labels["outcome"]] += int(value)
                    case "kafka_consumergroup_lag":
                        behind += value
                    case _:
                        pass
        numbers.messages, numbers.behind = int(messages), int(behind)
        numbers.decisions, numbers.calls = decisions, calls
        numbers.messages_per_second = self._messages.at(numbers.messages)
        numbers.calls_per_second = self._calls.at(calls.total())

    def _ask_third_party(self) -> None:
        answer = self._http.get(f"{self._addresses.third_party_url}/_sandbox/totals").raise_for_status()
        self.numbers.books = loads(answer.content)

    def _ask_state(self) -> None:
        row = self._connected().execute(_STATE, self._run).fetchone()
        self.numbers.state = State(*row) if row else None

    def _ask_orders(self) -> None:
        rows = self._connected().execute(_BY_STATUS)
        self.numbers.by_status = {status: (count, cashback) for status, count, cashback in rows}

    def _ask_latency(self) -> None:
        connection = self._connected()
        parameters = (LATENCY_CALLS, self._run["first"])
        answered = {(stream_id(row[0]), row[1]): row[2] for row in connection.execute(_LAST_CALLS, parameters)}
        keys = list(answered)
        rows = connection.execute(_EVENTS, ([key[0] for key in keys], [key[1] for key in keys]))
        events = [_mapper.to_domain_event(StoredEvent(*row)) for row in rows]
        if len(events) < MIN_LATENCY_CALLS:
            return
        answers = [answered[event.originator_id, event.originator_version] for event in events]
        pairs = list(zip(answers, events, strict=True))
        self.numbers.latency = Latency(
            len(events),
            _percentiles([answer - event.recorded_at_ns / NANOSECONDS_PER_MS for answer, event in pairs]),
            _percentiles(
                [
                    answer - event.message.happened_at_ns / NANOSECONDS_PER_MS
                    for answer, event in pairs
                    if isinstance(event, MessageEvent)
                ]
            ),
        )

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = BoundedConnection[Any].connect(
                conninfo(
                    self._addresses.database_url,
                    application_name="cashback-demo",
                    connect_timeout_seconds=int(ANSWER_TIMEOUT_SECONDS),
                    statement_timeout=f"{STATEMENT_TIMEOUT_SECONDS}s",
                ),
                autocommit=True,
            )
        return self._connection


class _Question:
    """Something that is asked now and then."""

    def __init__(self, whom: str, ask: Callable[[], None]) -> None:
        self.whom = whom
        self.due_at = 0.0
        self._ask = ask

    def ask(self) -> bool:
        """False if there was no answer."""
        started = time.monotonic()
        try:
            self._ask()
        except (httpx.HTTPError, psycopg.Error, InvalidJson):
            self.due_at = started + SAMPLE_SECONDS
            return False
        took = time.monotonic() - started
        self.due_at = started + max(SAMPLE_SECONDS, took / MAX_SHARE_OF_TIME)
        return True


class _Rate:
    """How fast a count grows, over RATE_WINDOW_SECONDS."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def at(self, count: int) -> float:
        """Notes the count of now, and says how much it grows in a second."""
        now = time.monotonic()
        self._samples.append((now, count))
        while len(self._samples) > 2 and self._samples[1][0] < now - RATE_WINDOW_SECONDS:  # noqa: PLR2004 - a rate needs two
            self._samples.popleft()
        (since, before), (until, after) = self._samples[0], self._samples[-1]
        return (after - before) / (until - since) if until > since else 0.0


def _percentiles(values_ms: list[float]) -> Percentiles:
    cuts = quantiles(values_ms, n=100, method="inclusive")
    return Percentiles(cuts[49], cuts[98])
