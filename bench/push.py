"""Durable, ordered push against the same HTTP client without a database."""

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryFile
from uuid import uuid4

import httpx

from adapters.kafka.decoder import decode
from adapters.kafka.records import Record
from adapters.postgres.feeds import PostgresFeed, write_intended_calls
from adapters.postgres.ledger import PostgresLedger
from adapters.postgres.migrate import migrate
from adapters.postgres.store import OrderApplication
from adapters.third_party.client import ThirdPartyClient
from domain.decision import decide
from domain.events import OrderEvent
from domain.messages import Message
from domain.order import Order, fold
from domain.ports import Batch, Partition
from projections.delivery import DeliveryPolicy, Dispatcher
from projections.feed import Recorded
from projections.ports import Attempt, Call, Claim, Outcome
from projections.runner import Projection
from projections.third_party import NAME, intended_calls
from sandbox.lifecycles import lifecycles
from sandbox.ports import free_port
from sandbox.postgres import create_database

CONCURRENCY = 64
TIMEOUT_SECONDS = 10.0
LEASE_SECONDS = 60.0
ROOT = Path(__file__).parent.parent


class PushBench:
    """The same calls each time, to a sandbox third party that answers after a given time."""

    def __init__(self, url: str, orders: int, latency_ms: int) -> None:
        self._url = url
        self._orders = orders
        self._latency_ms = latency_ms

    def ours(self) -> float:
        """Calls a second, from the first claim to the last call answered."""
        url = create_database(self._url, f"bench_{uuid4().hex}")
        migrate(url)
        calls = self._fill(url)
        with _ThirdParty(self._latency_ms) as base_url:
            return asyncio.run(_deliver(url, base_url, calls))

    def bare(self) -> float:
        """Calls a second: the calls of one order one after the other, as many orders at once."""
        with _ThirdParty(self._latency_ms) as base_url:
            return asyncio.run(_call(base_url, self._calls()))

    def _events(self) -> list[OrderEvent]:
        events: list[OrderEvent] = []
        orders: dict[int, Order] = {}
        for offset, sent in enumerate(lifecycles(1, self._orders, first_order_id=1, started_at_ns=time.time_ns())):
            record = Record(Partition("bench", "-", 0), offset, None, sent.key, sent.value, sent.headers)
            message = decode(record)
            assert isinstance(message, Message)
            order = orders.get(message.order_id) or Order(message.order_id)
            decided = decide(order, message, now_ns=time.time_ns())
            orders[message.order_id] = fold(order, decided) or order
            events += decided
        return events

    def _fill(self, url: str) -> int:
        store = OrderApplication(url)
        store.commit(Batch(self._events(), (), ()))
        store.close()
        feed = PostgresFeed(url, NAME, write_intended_calls)
        projection = Projection(NAME, feed, intended_calls)
        while projection.step():
            pass
        feed.close()
        return sum(map(len, self._calls()))

    def _calls(self) -> list[list[Call]]:
        queues: dict[int, list[Call]] = {}

        recorded = [Recorded(number, event) for number, event in enumerate(self._events())]
        for intended in intended_calls(recorded):
            call = Call(
                intended.order_id, intended.version, intended.effect.kind, intended.effect.key, intended.body
            )
            queues.setdefault(call.order_id, []).append(call)
        return list(queues.values())


class _Watch:
    def __init__(self, calls: int) -> None:
        self.done = asyncio.Event()
        self._left = calls

    def attempt_ended(self, attempt: Attempt) -> None:
        assert attempt.answer.outcome is Outcome.DELIVERED, attempt
        self._left -= 1
        if not self._left:
            self.done.set()

    def order_parked(self, claim: Claim, reason: str) -> None: ...
    def push_state(self, state: str) -> None: ...


def _client(base_url: str) -> ThirdPartyClient:
    return ThirdPartyClient(base_url, token=None, timeout_seconds=TIMEOUT_SECONDS, concurrency=CONCURRENCY)


async def _deliver(url: str, base_url: str, calls: int) -> float:
    watch = _Watch(calls)
    policy = DeliveryPolicy(CONCURRENCY, TIMEOUT_SECONDS, LEASE_SECONDS)
    async with PostgresLedger(url, lease_seconds=LEASE_SECONDS) as ledger, _client(base_url) as client:
        started = time.perf_counter()
        await Dispatcher(ledger, client, policy, watch).run(watch.done)
        return calls / (time.perf_counter() - started)


async def _call(base_url: str, queues: list[list[Call]]) -> float:
    room = asyncio.Semaphore(CONCURRENCY)

    async def one_order(queue: list[Call]) -> None:
        async with room:
            for call in queue:
                answer = await client.send(call)
                assert answer.outcome is Outcome.DELIVERED, answer

    async with _client(base_url) as client:
        started = time.perf_counter()
        await asyncio.gather(*map(one_order, queues))
        return sum(map(len, queues)) / (time.perf_counter() - started)


class _ThirdParty:
    """The sandbox in a process of its own, for as long as the context lasts."""

    def __init__(self, latency_ms: int) -> None:
        self._latency_ms = latency_ms

    def __enter__(self) -> str:
        port = free_port()
        base_url = f"http://127.0.0.1:{port}"
        self._log = TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, ROOT / "app.py", "third-party", "--port", str(port)], cwd=ROOT, stderr=self._log
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                httpx.put(f"{base_url}/_sandbox/faults", json={"latencyMs": self._latency_ms})
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
                threading.Event().wait(0.05)
            else:
                return base_url

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()
