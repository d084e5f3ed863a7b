"""The commands that play the rest of the world: the order service and the third party."""

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final

import structlog

from adapters.kafka.cluster import check_reachable
from adapters.kafka.producer.publisher import Publisher
from adapters.settings import Settings
from domain.errors import CashbackError
from sandbox.order_service.chaos import Chaos, Disorder
from sandbox.order_service.growing_topic import CantGrow, GrowingPublisher, TopicAdmin, growth_points
from sandbox.order_service.lifecycles import first_order_id_at
from sandbox.order_service.simulator import ALL_CONFIRMED, NO_CHAOS, Progress, simulate
from sandbox.third_party_server.app import serve
from sandbox.third_party_server.books import Books
from sandbox.third_party_server.journal import JournalError

DELIVERY_TIMEOUT_SECONDS: Final = 10.0
REPORT_INTERVAL_SECONDS: Final = 5.0
LOOPBACK: Final = "127.0.0.1"

log = structlog.get_logger(__name__)


class ThirdPartyUnavailable(CashbackError):
    """The sandbox third party can't listen, or can't use its journal."""


def run_simulation(  # noqa: PLR0913 - each is an option of the command
    settings: Settings,
    orders: int | None,
    rate: float | None,
    seed: int,
    first_order_id: int | None,
    *,
    stamped: bool,
    chaos: Chaos = NO_CHAOS,
) -> int:
    """Publishes until done or told to stop. Answers the exit code: 1 if a message was not delivered.

    Raises CantGrow if the topic must grow and can't.
    """
    check_reachable(settings.kafka_bootstrap, settings.kafka_config)
    topic = settings.kafka_topics[0]
    with _stopped_by_signals() as stop, _publisher(settings, topic, orders, chaos) as publisher:
        report_at = 0.0

        def report(progress: Progress) -> None:
            nonlocal report_at
            if progress.failed:
                stop.set()
            if time.monotonic() >= report_at:
                report_at = time.monotonic() + REPORT_INTERVAL_SECONDS
                log.info("published", messages=progress.messages, orders=progress.orders_finished)

        result = simulate(
            publisher,
            topic,
            orders=orders,
            rate=rate,
            seed=seed,
            first_order_id=first_order_id or first_order_id_at(time.time_ns()),
            stamped=stamped,
            stop=stop,
            progress=report,
            chaos=chaos,
        )
    counts: dict[str, int] = {kind: result.disorder.get(kind, 0) for kind in sorted(chaos.kinds)}
    if isinstance(publisher, GrowingPublisher):
        counts[Disorder.GROWING] = publisher.added
    if result.failed:
        log.error("messages were not delivered", failed=result.failed, error=str(result.last_error))
    else:
        log.info(ALL_CONFIRMED, topic=topic, next_offsets=dict(sorted(result.next_offsets.items())))
    log.info(
        "simulation ended", orders=result.orders_finished, messages=result.messages, failed=result.failed, **counts
    )
    return 1 if result.failed else 0


def _publisher(settings: Settings, topic: str, orders: int | None, chaos: Chaos) -> Publisher | GrowingPublisher:
    connect = partial(
        Publisher,
        settings.kafka_bootstrap,
        config=settings.kafka_config,
        delivery_timeout_seconds=DELIVERY_TIMEOUT_SECONDS,
    )
    if Disorder.GROWING not in chaos.kinds:
        return connect()
    admin = TopicAdmin(settings.kafka_bootstrap, settings.kafka_config, topic)
    try:
        admin.check()
    except CantGrow as refusal:
        if chaos.insists_on(Disorder.GROWING):
            raise
        log.warning("goes on without growing", why=str(refusal))
        return connect()
    return GrowingPublisher(connect, admin, growth_points(orders))


def run_third_party(settings: Settings, port: int, journal: Path | None = None) -> int:
    """Serves until told to stop; with a journal the books outlive the process. Raises ThirdPartyUnavailable."""
    token = settings.third_party_token
    try:
        books = Books(journal=journal)
    except (JournalError, OSError) as error:
        raise ThirdPartyUnavailable(f"the books can't be kept: {error}") from error
    try:
        asyncio.run(
            serve(
                LOOPBACK,
                port,
                ready=lambda real_port: log.info("listening", url=f"http://{LOOPBACK}:{real_port}", port=real_port),
                books=books,
                token=token.get_secret_value() if token else None,
            )
        )
    except OSError as error:
        raise ThirdPartyUnavailable(f"can't listen on {LOOPBACK}:{port}: {error.strerror or error}") from error
    finally:
        books.close()
    return 0


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    stop = threading.Event()

    def request_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, request_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
