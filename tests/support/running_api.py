"""The API on a real server, over a database that was told records and whose projections have caught up."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from typing import Any, Final

import httpx
import psycopg
import uvicorn
from fastapi import FastAPI

from adapters.kafka.consumer.intake import Intake, Limits
from adapters.kafka.decoding.record import Record
from adapters.kafka.producer.republisher import KafkaRepublisher
from adapters.operations.interventions import InterventionService
from adapters.operations.quarantine import QuarantineService
from adapters.operations.replay import ReplayService
from adapters.postgres.audit_log import PostgresActions
from adapters.postgres.ended_sessions import PostgresEndedSessions
from adapters.postgres.event_store import OrderApplication
from adapters.postgres.idempotency import PostgresRequests
from adapters.postgres.interventions import PostgresInterventions
from adapters.postgres.jobs import PostgresJobs
from adapters.postgres.ledger import PostgresLedger
from adapters.postgres.money_may_be_wrong import PostgresMoneyMayBeWrong
from adapters.postgres.parking import PostgresParking
from adapters.postgres.pool import Database
from adapters.postgres.projection_feeds import PostgresFeed, write_ledger_rows, write_orders
from adapters.postgres.queries import PostgresQueries
from adapters.postgres.reconciliation import PostgresReconciliation
from adapters.postgres.replays import PostgresReplays
from adapters.postgres.service_status import PostgresConsole
from adapters.postgres.statement import PostgresStatements
from adapters.records.personal_tokens import PersonalToken
from adapters.web.app import create_app
from projections import doubt_marks, intended_calls, orders
from projections.delivery.breaker import BreakerState
from projections.delivery.dispatcher import DeliveryPolicy, Dispatcher
from projections.delivery.ports import Answer, Attempt, Call, Claim, Lookup, Outcome, ThirdParty
from projections.delivery.retry import RetryPolicy
from projections.runner import Projection
from tests.support import local_http
from tests.support.messages import NOW_NS, TOPIC

DEADLINE_SECONDS: Final = 60.0
NO_BROKER: Final = "127.0.0.1:1"


def tell(database_url: str, *records: Record, limits: Limits | None = None) -> None:
    """Decides about the records and stores what follows; the projections see it too."""
    store = OrderApplication(database_url)
    try:
        intake = Intake(store, limits=limits, clock_ns=lambda: NOW_NS)
        intake.assign({record.partition for record in records})
        intake.handle(records)
    finally:
        store.close()
    project(database_url)


def project(database_url: str) -> None:
    """Until both projections have seen everything."""
    store = OrderApplication(database_url)
    rows = PostgresFeed(database_url, orders.NAME, write_orders)
    calls = PostgresFeed(database_url, intended_calls.NAME, write_ledger_rows)
    try:
        while Projection(orders.NAME, rows, orders.OrderRows(store.load)).step():
            pass
        while Projection(intended_calls.NAME, calls, doubt_marks.ledger_rows).step():
            pass
    finally:
        rows.close()
        calls.close()
        store.close()


def sql(database_url: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        cursor = connection.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


class RecordingThirdParty:
    """Remembers the calls; says yes unless `answer` says something else."""

    def __init__(self, answer: Callable[[Call], Answer | None] = lambda _: None) -> None:
        self.calls: list[Call] = []
        self._answer = answer

    async def send(self, call: Call) -> Answer:
        self.calls.append(call)
        return self._answer(call) or Answer(Outcome.DELIVERED, 200, "{}")

    async def lookup(self, order_id: int) -> Lookup:
        """It keeps no books."""
        return Answer(Outcome.REFUSED, 405, f"no lookup of order {order_id}")


class _Nobody:
    def attempt_ended(self, attempt: Attempt) -> None: ...
    def order_parked(self, claim: Claim, reason: str) -> None: ...
    def push_state(self, state: str, why: str | None = None) -> None: ...
    def breaker_changed(self, state: BreakerState, why: str) -> None: ...
    def rate_changed(self, calls_per_second: float) -> None: ...


def deliver(database_url: str, third: ThirdParty | None = None, *, lease_seconds: float = 60.0) -> None:
    """Runs a dispatcher until every order is settled or parked; 20 failures in a row park one."""
    asyncio.run(_deliver(database_url, third or RecordingThirdParty(), lease_seconds))


async def _deliver(database_url: str, third: ThirdParty, lease_seconds: float) -> None:
    policy = DeliveryPolicy(
        concurrency=8, call_timeout_seconds=0.1, lease_seconds=lease_seconds, retry=RetryPolicy(20, 0.001, 0.001)
    )
    stop = asyncio.Event()
    async with PostgresLedger(
        database_url, lease_seconds=lease_seconds, call_timeout_seconds=lease_seconds / 3
    ) as ledger:
        running = asyncio.create_task(Dispatcher(ledger, third, policy, _Nobody()).run(stop))
        async with asyncio.timeout(DEADLINE_SECONDS):
            while _has_work(database_url):
                assert not running.done()
                await asyncio.sleep(0.02)
        stop.set()
        await running


def _has_work(database_url: str) -> bool:
    statement = (
        "SELECT 1 FROM delivery WHERE parked_at IS NULL"
        " AND (settled_version < head_version OR lease_token IS NOT NULL) LIMIT 1"
    )
    return bool(sql(database_url, statement))


def refuse(*order_ids: int) -> Callable[[Call], Answer | None]:
    return lambda call: Answer(Outcome.REFUSED, 422, "no") if call.order_id in order_ids else None


class FakeHealth:
    """Says what it is told to."""

    def __init__(self) -> None:
        self.is_live = True
        self.is_ready = True

    def live(self) -> bool:
        return self.is_live

    def ready(self) -> tuple[bool, dict[str, object]]:
        return self.is_ready, {"parts": {"api": "listening" if self.is_ready else "waiting for the database"}}


def metrics_text() -> tuple[bytes, str]:
    return b"up 1\n", "text/plain; version=1.0.0"


class Api:
    """A client of a running API."""

    def __init__(self, client: httpx.Client, health: FakeHealth) -> None:
        self.client = client
        self.health = health

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.client.get(path, **more)

    def replay(self, order_id: int, mode: str, *, dry_run: bool = False, **options: Any) -> httpx.Response:
        body = {"mode": mode, "dryRun": dry_run} | ({} if dry_run else {"reason": "a test"}) | options
        return self.client.post(f"/api/orders/{order_id}/replay", json=body)


@contextmanager
def running_api(
    database_url: str,
    *,
    bootstrap: str = NO_BROKER,
    topics: Sequence[str] = (TOPIC,),
    token: str | None = None,
    read_token: str | None = None,
    personal_tokens: Sequence[PersonalToken] = (),
    database_timeout_seconds: float = 10.0,
    kafka_timeout_seconds: float = 10.0,
) -> Iterator[Api]:
    """The API as the service wires it."""
    health = FakeHealth()

    async def make(stack: AsyncExitStack) -> FastAPI:
        database = await stack.enter_async_context(Database(database_url, timeout_seconds=database_timeout_seconds))
        store = OrderApplication(database_url)
        stack.callback(store.close)
        republisher = KafkaRepublisher(
            bootstrap,
            {},
            request_timeout_seconds=kafka_timeout_seconds,
            message_timeout_seconds=kafka_timeout_seconds,
        )
        replays = ReplayService(
            PostgresReplays(database), republisher, topics=topics, key_retention=timedelta(hours=24)
        )
        return create_app(
            queries=PostgresQueries(database),
            replays=replays,
            jobs=PostgresJobs(database),
            reconciliation=PostgresReconciliation(database),
            money_may_be_wrong=PostgresMoneyMayBeWrong(database),
            statements=PostgresStatements(database),
            parking=PostgresParking(database),
            interventions=InterventionService(PostgresInterventions(database), store),
            quarantining=QuarantineService(PostgresQueries(database), store, clock_ns=lambda: NOW_NS),
            actions=PostgresActions(database),
            requests=PostgresRequests(database),
            health=health,
            metrics_text=metrics_text,
            api_token=token,
            read_token=read_token,
            personal_tokens=personal_tokens,
            console=PostgresConsole(database),
            may_compare=True,
            ended_sessions=PostgresEndedSessions(database),
        )

    with serving(make) as url, local_http.client(url) as client:
        if token is not None:
            client.headers["Authorization"] = f"Bearer {token}"
        yield Api(client, health)


def _plain_server(app: Any) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))


@contextmanager
def serving(
    make: Callable[[AsyncExitStack], Any], *, server: Callable[[Any], uvicorn.Server] = _plain_server
) -> Iterator[str]:
    """Serves what `make` makes on an event loop of its own; gives the URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    ready = threading.Event()
    servers: list[uvicorn.Server] = []

    async def serve() -> None:
        async with AsyncExitStack() as stack:
            app = await make(stack)
            servers.append(server(app))
            serving = asyncio.create_task(servers[0].serve(sockets=[listener]))
            ready.set()
            await serving

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="api", daemon=True)
    thread.start()
    try:
        assert ready.wait(DEADLINE_SECONDS)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        for each in servers:
            each.should_exit = True
        thread.join(DEADLINE_SECONDS)
        listener.close()
        assert not thread.is_alive()
