"""The long-running service: which parts a process runs, how they start, and how they end.

Intake and the projections are threads of their own, push and the API share the event loop. Each role can run
alone, in any number of processes.
"""

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from enum import StrEnum
from typing import Any, Final

import structlog
import uvicorn

from adapters.health import Health
from adapters.kafka.cluster import TopicIds
from adapters.kafka.consumer import KafkaIntake
from adapters.kafka.intake import Intake, Limits, Outcome
from adapters.metrics import Metrics
from adapters.postgres.feeds import PostgresFeed, write_intended_calls, write_orders
from adapters.postgres.ledger import PostgresLedger
from adapters.postgres.pool import Database
from adapters.postgres.queries import PostgresQueries
from adapters.postgres.store import OrderApplication
from adapters.replaying import replay_service
from adapters.settings import Settings
from adapters.third_party.client import ThirdPartyClient
from adapters.web.app import create_app, create_probes_app
from domain.decision import Policy
from domain.errors import CashbackError
from domain.instants import NANOSECONDS_PER_SECOND
from domain.ports import Partition
from projections import orders, third_party
from projections.delivery import DeliveryPolicy, Dispatcher
from projections.ports import Attempt, Claim
from projections.retrying import RetryPolicy
from projections.runner import Projection

JOIN_SECONDS: Final = 10.0

log = structlog.get_logger(__name__)


class Role(StrEnum):
    """What a process can do."""

    INTAKE = "intake"
    PUSH = "push"
    API = "api"


class PortTaken(CashbackError):
    """The API's port can't be listened on."""


class _Observer:
    """Hears what the parts report, and keeps metrics and health."""

    def __init__(self, metrics: Metrics, health: Health) -> None:
        self.metrics = metrics
        self.health = health
        self.attempt_ended: Callable[[Attempt], None] = metrics.attempt_ended
        self.batch_stored: Callable[[Outcome, float], None] = metrics.batch_stored

    def positions_changed(self, positions: Mapping[Partition, int | None], ends: Mapping[Partition, int]) -> None:
        self.metrics.positions_changed(positions, ends)

    def intake_state(self, state: str) -> None:
        self.health.part("intake", state)

    def partition_stopped(self, partition: str, why: str | None) -> None:
        self.health.partition_stopped(partition, why)
        self.metrics.partitions_stopped(len(self.health.stopped_partitions))

    def push_state(self, state: str) -> None:
        self.health.part("push", state)

    def order_parked(self, claim: Claim, reason: str) -> None:
        self.metrics.order_parked()
        log.warning("order parked", order_id=claim.order_id, reason=reason)

    def projected(self, name: str, events: int, seconds: float) -> None:
        self.health.part(f"projection {name}", "running")
        self.metrics.events_projected(name, events, seconds)

    def projection_waits(self, name: str, why: str) -> None:
        self.health.part(f"projection {name}", "waiting for the event store")
        log.warning("a projection can't reach the event store; trying again", projection=name, error=why)


class Service:
    """One process. `run` returns when it has been told to stop and has stopped: 0, or 1 if a part died."""

    def __init__(self, settings: Settings, roles: Iterable[Role]) -> None:
        self._settings = settings
        self._roles = frozenset(roles)
        self.metrics = Metrics()
        self.health = Health()
        self._observer = _Observer(self.metrics, self.health)
        self._stop_threads = threading.Event()
        self._stop = asyncio.Event()
        self._threads: list[threading.Thread] = []
        self._exit_code = 0
        self._database_url = settings.database_url.get_secret_value()

    async def run(self) -> int:
        """Raises PortTaken."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop, signal.Signals(number).name)
        listener = self._listen()
        async with AsyncExitStack() as stack:
            tasks = [loop.create_task(self._end_with_us(part)) for part in await self._parts(stack, listener)]
            self._start_threads(loop)
            log.info("started", roles=sorted(self._roles))
            await self._stop.wait()
            self._stop_threads.set()
            await asyncio.gather(*tasks)
            await asyncio.to_thread(self._join_threads)
        log.info("stopped", exit_code=self._exit_code)
        return self._exit_code

    def _told_to_stop(self, name: str) -> None:
        log.info("stopping", signal=name)
        self._stop.set()

    async def _parts(self, stack: AsyncExitStack, listener: socket.socket | None) -> list[Any]:
        """What runs on the event loop."""
        parts: list[Any] = []
        if Role.PUSH in self._roles:
            parts.append(await self._push(stack))
        if listener is not None:
            parts.append(self._http(await self._web_app(stack), listener))
        return parts

    async def _push(self, stack: AsyncExitStack) -> Any:
        settings = self._settings
        ledger = await stack.enter_async_context(
            PostgresLedger(self._database_url, lease_seconds=settings.lease_seconds)
        )
        token = settings.third_party_token
        client = await stack.enter_async_context(
            ThirdPartyClient(
                settings.third_party_url,
                token=token.get_secret_value() if token else None,
                timeout_seconds=settings.third_party_timeout_seconds,
                concurrency=settings.push_concurrency,
            )
        )
        policy = DeliveryPolicy(
            concurrency=settings.push_concurrency,
            call_timeout_seconds=settings.third_party_timeout_seconds,
            lease_seconds=settings.lease_seconds,
            retry=RetryPolicy(
                settings.push_max_attempts,
                settings.push_backoff_base_seconds,
                settings.push_backoff_max_seconds,
            ),
        )
        dispatcher = Dispatcher(ledger, client, policy, self._observer)
        return dispatcher.run(self._stop, drain_seconds=settings.shutdown_timeout_seconds)

    async def _web_app(self, stack: AsyncExitStack) -> Any:
        if Role.API not in self._roles:
            return create_probes_app(health=self.health, metrics_text=self.metrics.exposition)
        database = await stack.enter_async_context(Database(self._database_url))
        token = self._settings.api_token
        return create_app(
            queries=PostgresQueries(database),
            replays=replay_service(self._settings, database),
            health=self.health,
            metrics_text=self.metrics.exposition,
            api_token=token.get_secret_value() if token else None,
        )

    def _listen(self) -> socket.socket | None:
        """Takes the port before anything else starts: a taken one is told at once."""
        settings = self._settings
        port = settings.api_port if Role.API in self._roles else settings.probes_port
        if port is None:
            return None
        try:
            return socket.create_server((settings.api_host, port), reuse_port=False, backlog=512)
        except OSError as error:
            raise PortTaken(f"can't listen on {settings.api_host}:{port}: {error.strerror or error}") from error

    async def _http(self, app: Any, listener: socket.socket) -> None:
        host, port = listener.getsockname()[:2]
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=int(self._settings.shutdown_timeout_seconds),
        )
        server = _QuietServer(config)
        self.health.part("api", "listening")
        log.info("listening", url=f"http://{host}:{port}", port=port)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await self._stop.wait()
        server.should_exit = True
        await serving

    def _start_threads(self, loop: asyncio.AbstractEventLoop) -> None:
        if Role.PUSH in self._roles:
            calls = Projection(
                third_party.NAME,
                PostgresFeed(self._database_url, third_party.NAME, write_intended_calls),
                third_party.intended_calls,
            )
            self._start_thread(loop, f"projection {third_party.NAME}", lambda: self._project(calls))
        if Role.API in self._roles:
            store = OrderApplication(self._database_url)
            rows = Projection(
                orders.NAME,
                PostgresFeed(self._database_url, orders.NAME, write_orders),
                orders.OrderRows(store.load),
            )
            self._start_thread(loop, f"projection {orders.NAME}", lambda: self._project(rows))
        if Role.INTAKE in self._roles:
            self._start_thread(loop, "intake", lambda: self._kafka_intake().run(self._stop_threads))

    def _project(self, projection: Projection[Any]) -> None:
        self.health.part(f"projection {projection.name}", "running")
        projection.run(self._stop_threads, self._observer.projected, self._observer.projection_waits)

    def _kafka_intake(self) -> KafkaIntake:
        settings = self._settings
        self.health.part("intake", "waiting for partitions")
        intake = Intake(
            OrderApplication(self._database_url),
            policy=Policy(round(settings.clock_tolerance_seconds * NANOSECONDS_PER_SECOND)),
            limits=Limits(settings.message_max_bytes, settings.order_max_events, settings.intake_cache_orders),
        )
        return KafkaIntake(
            intake,
            bootstrap=settings.kafka_bootstrap,
            topics=settings.kafka_topics,
            group=settings.kafka_group,
            config=settings.kafka_config,
            batch_size=settings.intake_batch_size,
            observer=self._observer,
            topic_ids=TopicIds(settings.kafka_bootstrap, settings.kafka_config),
        )

    def _start_thread(self, loop: asyncio.AbstractEventLoop, name: str, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
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


class _QuietServer(uvicorn.Server):
    """Leaves the signals to the service."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
