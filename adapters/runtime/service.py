"""The long-running service: which parts a process runs, how they start, and how they end.

Intake and the projections are threads of their own, push and the API share the event loop. Each role can run
alone, in any number of processes.
"""

import asyncio
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from adapters.kafka.cluster import TopicIds
from adapters.kafka.consumer.consumer import KafkaIntake
from adapters.kafka.consumer.intake import Intake
from adapters.kafka.fatal_errors import FatalErrors
from adapters.observability.backlog_metrics import watch_backlog
from adapters.observability.health import Health
from adapters.observability.metrics import Metrics
from adapters.observability.tracing.start import start_tracing
from adapters.observability.tracing.stored_contexts import PostgresTraceContexts
from adapters.operations.jobs.kinds import comparing
from adapters.operations.jobs.runner import JobRunner
from adapters.operations.reconciliation.auditor import Auditor
from adapters.operations.reconciliation.reconciler import LOOKUPS_AT_ONCE, Reconciler
from adapters.postgres.audit_log import PostgresActions
from adapters.postgres.backlog import PostgresBacklog
from adapters.postgres.ended_sessions import PostgresEndedSessions
from adapters.postgres.event_store import OrderApplication
from adapters.postgres.idempotency import PostgresRequests
from adapters.postgres.job_work import PostgresJobWork
from adapters.postgres.ledger import PostgresLedger
from adapters.postgres.money_may_be_wrong import PostgresMoneyMayBeWrong
from adapters.postgres.order_row_refill import refill_for_ever
from adapters.postgres.parking import PostgresParking
from adapters.postgres.pool import Database
from adapters.postgres.projection_feeds import PostgresFeed, forget_orders, write_ledger_rows, write_orders
from adapters.postgres.queries import PostgresQueries
from adapters.postgres.reconciliation import PostgresReconciliation
from adapters.postgres.service_status import PostgresConsole
from adapters.postgres.statement import PostgresStatements
from adapters.records.jobs import COMPARE
from adapters.records.money_may_be_wrong import CaseLimits
from adapters.runtime.dead_letter_copier import dead_letter_copier
from adapters.runtime.descriptors import connection_limit, raise_descriptor_limit
from adapters.runtime.http_server import http_server, listen
from adapters.runtime.observer import ProcessObserver
from adapters.runtime.process_status import CONNECTION_SECONDS, Preparer, ProcessReporter, ProcessState
from adapters.runtime.tuning import collect_rarely, take_turns_quickly
from adapters.runtime.wiring import (
    bulk_runner,
    interventions,
    jobs_of,
    limits_of,
    personal_tokens,
    policy_of,
    quarantining,
    replay_service,
)
from adapters.settings import Settings, check_api_is_closed, is_loopback
from adapters.third_party_api.client import ThirdPartyClient
from adapters.third_party_api.factory import resolution_of, third_party_client
from projections import doubt_marks, intended_calls, orders
from projections.delivery.breaker import BreakerState
from projections.delivery.dispatcher import DeliveryPolicy, Dispatcher
from projections.delivery.retry import RetryPolicy
from projections.runner import Projection

if TYPE_CHECKING:
    from projections.delivery.ports import Ledger, ThirdParty

JOIN_SECONDS: Final = 20.0
"""Longer than any question to a server that a thread may be waiting for."""

log = structlog.get_logger(__name__)


class ProcessRole(StrEnum):
    """What a process can do."""

    INTAKE = "intake"
    PUSH = "push"
    API = "api"


class Service:
    """One process. `run` returns when it has been told to stop and has stopped: 0, or 1 if a part died."""

    def __init__(self, settings: Settings, roles: Iterable[ProcessRole]) -> None:
        """Raises BadSetting if others could reach the API and it asks for no token, or if traces can't be sent."""
        self._settings = settings
        self._case_limits = CaseLimits(pending_days=settings.pending_alert_days)
        self._roles = frozenset(roles)
        if ProcessRole.API in self._roles:
            check_api_is_closed(settings)
            self._personal_tokens = personal_tokens(settings)
        self.metrics = Metrics(group=settings.kafka_group, build=settings.build)
        self.health = Health(
            settings.stalled_after_seconds, patience={"push": settings.third_party_timeout_seconds}
        )
        self.metrics.readiness(lambda: self.health.ready()[0])
        self._state = ProcessState(self.health)
        if ProcessRole.PUSH in self._roles:
            self._state.breaker = BreakerState.CLOSED
        self._observer = ProcessObserver(self.metrics, self.health, self._state)
        self._stop_threads = threading.Event()
        self._stop = asyncio.Event()
        self._threads: list[threading.Thread] = []
        self._exit_code = 0
        self._descriptors = 0
        self._database_url = settings.database_url.get_secret_value()
        self._tracing = start_tracing(settings, self._roles)

    async def run(self) -> int:
        """Raises PortTaken."""
        self._descriptors = raise_descriptor_limit()
        collect_rarely()
        take_turns_quickly()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop_signal, signal.Signals(number).name)
        listener = self._listen()
        async with AsyncExitStack() as stack:
            if self._tracing is not None:
                stack.callback(self._tracing.stop)
            tasks = [loop.create_task(self._end_with_us(part)) for part in await self._parts(stack, listener)]
            self._start_threads(loop)
            log.info("started", roles=sorted(self._roles))
            await self._stop.wait()
            self._stop_threads.set()
            await asyncio.gather(*tasks)
            await asyncio.to_thread(self._join_threads)
        log.info("stopped", exit_code=self._exit_code)
        return self._exit_code

    def _on_stop_signal(self, name: str) -> None:
        log.info("stopping", signal=name)
        self._stop.set()

    async def _parts(self, stack: AsyncExitStack, listener: socket.socket | None) -> list[Any]:
        """What runs on the event loop."""
        parts: list[Any] = []
        if ProcessRole.PUSH in self._roles:
            parts.append(await self._push(stack))
            if self._settings.audit_orders_per_second is not None:
                parts.append(await self._audit(stack, self._settings.audit_orders_per_second))
        if ProcessRole.API in self._roles:
            parts.append(await self._bulk(stack))
            if self._settings.third_party_lookups:
                parts.append(await self._comparisons(stack))
        parts += await self._watched(stack)
        if listener is not None:
            parts.append(self._http(await self._web_app(stack), listener))
        return parts

    async def _push(self, stack: AsyncExitStack) -> Any:
        settings = self._settings
        tracing = self._tracing
        ledger: Ledger = await stack.enter_async_context(
            PostgresLedger(
                self._database_url,
                lease_seconds=settings.lease_seconds,
                call_timeout_seconds=settings.third_party_timeout_seconds,
                on_rewind=self._observer.database_rewound,
            )
        )
        concurrency = settings.push_concurrency
        client: ThirdParty = await self._third_party(stack, concurrency)
        if tracing is not None:
            database = Database(self._database_url, pool_size=1, timeout_seconds=CONNECTION_SECONDS)
            contexts = PostgresTraceContexts(await stack.enter_async_context(database))
            ledger, client = tracing.delivery(ledger, client, contexts, settings.third_party_url)
        policy = DeliveryPolicy(
            concurrency=concurrency,
            call_timeout_seconds=settings.third_party_timeout_seconds,
            lease_seconds=settings.lease_seconds,
            retry=RetryPolicy(
                settings.push_max_attempts,
                settings.push_backoff_base_seconds,
                settings.push_backoff_max_seconds,
                settings.push_retry_after_max_seconds,
            ),
            key_retention_seconds=settings.third_party_key_retention_hours * 3600,
            lookups=settings.third_party_lookups,
            calls_per_second=settings.push_calls_per_second,
            resolution=resolution_of(settings),
            holds_doubtful=settings.doubtful_orders == "hold",
        )
        dispatcher = Dispatcher(ledger, client, policy, self._observer)
        return dispatcher.run(self._stop, drain_seconds=settings.shutdown_timeout_seconds)

    async def _audit(self, stack: AsyncExitStack, per_second: float) -> Any:
        """With connections of its own, as its calls are nobody's concern but its own."""
        books = PostgresReconciliation(await stack.enter_async_context(Database(self._database_url)))
        reconciler = await self._reconciler(stack, books, per_second)
        return Auditor(self._database_url, books, reconciler, self._observer).run(self._stop)

    async def _reconciler(
        self, stack: AsyncExitStack, books: PostgresReconciliation, per_second: float
    ) -> Reconciler:
        client: ThirdParty = await self._third_party(stack, LOOKUPS_AT_ONCE)
        if self._tracing is not None:
            client = self._tracing.lookups(client, self._settings.third_party_url)
        return Reconciler(
            books, client, self._observer, per_second=per_second, resolution=resolution_of(self._settings)
        )

    async def _third_party(self, stack: AsyncExitStack, concurrency: int) -> ThirdPartyClient:
        trace_headers = None if self._tracing is None else self._tracing.headers_of_request
        client = third_party_client(self._settings, concurrency=concurrency, trace_headers=trace_headers)
        return await stack.enter_async_context(client)

    async def _bulk(self, stack: AsyncExitStack) -> Any:
        """With connections of its own: requests needn't wait for it, nor it for them."""
        database = await stack.enter_async_context(Database(self._database_url, pool_size=2))
        return bulk_runner(self._settings, database).run(self._stop)

    async def _comparisons(self, stack: AsyncExitStack) -> Any:
        """Beside the bulk replays, which needn't wait for one. With a client of its own for as long as one runs."""
        database = await stack.enter_async_context(Database(self._database_url, pool_size=2))

        @asynccontextmanager
        async def reconciler(per_second: float) -> AsyncIterator[Reconciler]:
            async with AsyncExitStack() as own:
                yield await self._reconciler(own, PostgresReconciliation(database), per_second)

        return JobRunner(PostgresJobWork(database), {COMPARE: comparing(reconciler)}).run(self._stop)

    async def _watched(self, stack: AsyncExitStack) -> list[Any]:
        """With a connection of its own: it tells how the process is also when requests wait."""
        database = Database(self._database_url, pool_size=1, timeout_seconds=CONNECTION_SECONDS)
        limits = self._case_limits
        console = PostgresConsole(await stack.enter_async_context(database), limits)
        parts = [ProcessReporter(console, self._roles, self._state.snapshot).run(self._stop)]
        if ProcessRole.API in self._roles:
            parts.append(Preparer(console).run(self._stop))
            backlog = await stack.enter_async_context(Database(self._database_url, pool_size=1))
            parts.append(watch_backlog(PostgresBacklog(backlog, limits).backlog, self.metrics.backlog, self._stop))
        return parts

    async def _web_app(self, stack: AsyncExitStack) -> Any:
        from adapters.web.app import create_app, create_probes_app  # noqa: PLC0415 - nobody else loads FastAPI

        if ProcessRole.API not in self._roles:
            return create_probes_app(
                health=self.health,
                metrics_text=self.metrics.exposition,
                on_loopback=is_loopback(self._settings.api_host),
            )
        database = await stack.enter_async_context(Database(self._database_url))
        store = OrderApplication(self._database_url)
        stack.callback(store.close)
        token, read_token = self._settings.api_token, self._settings.api_read_token
        return create_app(
            queries=PostgresQueries(database),
            replays=replay_service(self._settings, database),
            jobs=jobs_of(self._settings, database),
            reconciliation=PostgresReconciliation(database),
            money_may_be_wrong=PostgresMoneyMayBeWrong(database, self._case_limits),
            statements=PostgresStatements(database),
            parking=PostgresParking(database),
            interventions=interventions(self._settings, database, store),
            quarantining=quarantining(self._settings, PostgresQueries(database), store),
            actions=PostgresActions(database),
            requests=PostgresRequests(database),
            health=self.health,
            metrics_text=self.metrics.exposition,
            api_token=token.get_secret_value() if token else None,
            read_token=read_token.get_secret_value() if read_token else None,
            personal_tokens=self._personal_tokens,
            console=PostgresConsole(database, self._case_limits),
            may_compare=self._settings.third_party_lookups,
            ended_sessions=PostgresEndedSessions(database),
            till=self._settings.till,
        )

    def _listen(self) -> socket.socket | None:
        """Takes the port before anything else starts: a taken one is told at once."""
        settings = self._settings
        port = settings.api_port if ProcessRole.API in self._roles else settings.probes_port
        return None if port is None else listen(settings.api_host, port)

    async def _http(self, app: Any, listener: socket.socket) -> None:
        host, port = listener.getsockname()[:2]
        server = http_server(
            app,
            max_connections=connection_limit(self._descriptors, self._third_party_calls()),
            shutdown_seconds=int(self._settings.shutdown_timeout_seconds),
            trusted_proxies=self._settings.trusted_proxies,
        )
        self.health.part("api", "listening")
        log.info("listening", url=f"http://{host}:{port}", port=port)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await self._stop.wait()
        server.should_exit = True
        await serving

    def _third_party_calls(self) -> int:
        """Under way at once, at most."""
        calls = self._settings.push_concurrency if ProcessRole.PUSH in self._roles else 0
        audits = ProcessRole.PUSH in self._roles and self._settings.audit_orders_per_second is not None
        compares = ProcessRole.API in self._roles and self._settings.third_party_lookups
        return calls + LOOKUPS_AT_ONCE * (audits + compares)

    def _start_threads(self, loop: asyncio.AbstractEventLoop) -> None:
        if ProcessRole.PUSH in self._roles:
            write_calls = partial(write_ledger_rows, on_broken=self._observer.invariant_broken)
            calls = Projection(
                intended_calls.NAME,
                PostgresFeed(
                    self._database_url,
                    intended_calls.NAME,
                    write_calls,
                    on_rewind=self._observer.database_rewound,
                ),
                doubt_marks.ledger_rows,
            )
            self._start_thread(loop, f"projection {intended_calls.NAME}", lambda: self._project(calls))
        if ProcessRole.API in self._roles:
            store = OrderApplication(self._database_url)
            rows = Projection(
                orders.NAME,
                PostgresFeed(
                    self._database_url,
                    orders.NAME,
                    write_orders,
                    forget=forget_orders,
                    on_rewind=self._observer.database_rewound,
                ),
                orders.OrderRows(store.load),
            )
            self._start_thread(loop, f"projection {orders.NAME}", lambda: self._project(rows))
            self._start_thread(
                loop, "refilling", lambda: refill_for_ever(self._database_url, store.load, self._stop_threads)
            )
        if ProcessRole.INTAKE in self._roles:
            self._start_thread(loop, "intake", lambda: self._kafka_intake().run(self._stop_threads))
            if copier := dead_letter_copier(self._settings, self._observer):
                self._start_thread(loop, "dead letters", lambda: copier.run(self._stop_threads))

    def _project(self, projection: Projection[Any]) -> None:
        self.health.part(f"projection {projection.name}", "running", in_steps=True)
        projection.run(self._stop_threads, self._observer.projected, self._observer.projection_waits)

    def _kafka_intake(self) -> KafkaIntake:
        settings = self._settings
        self.health.part("intake", "waiting for partitions")
        tracing = self._tracing
        make = Intake if tracing is None else partial(tracing.intake, settings.kafka_group)
        intake = make(
            OrderApplication(self._database_url, on_rewind=self._observer.database_rewound),
            policy=policy_of(settings),
            limits=limits_of(settings),
            till=settings.till,
        )
        return KafkaIntake(
            intake,
            bootstrap=settings.kafka_bootstrap,
            topics=settings.kafka_topics,
            group=settings.kafka_group,
            config=settings.kafka_config,
            batch_size=settings.intake_batch_size,
            listener=self._observer,
            topic_ids=TopicIds(settings.kafka_bootstrap, settings.kafka_config),
        )

    def _start_thread(self, loop: asyncio.AbstractEventLoop, name: str, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                with FatalErrors():  # else a thread may end without a word, and the process look well
                    work()
            except Exception:
                log.exception("a part died", part=name)
                loop.call_soon_threadsafe(self._died, name)

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    async def _end_with_us(self, part: Any) -> None:
        """A part that ends by an error takes the process with it: a supervisor starts it afresh."""
        try:
            await part
        except Exception:
            log.exception("a part died", part=getattr(part, "__qualname__", "part"))
            self._died(getattr(part, "__qualname__", "part"))

    def _died(self, part: str) -> None:
        self.health.died(part)
        self._exit_code = 1
        self._stop.set()

    def _join_threads(self) -> None:
        for thread in self._threads:
            thread.join(JOIN_SECONDS)
            if thread.is_alive():
                log.warning("a part does not end; leaving it", part=thread.name)
