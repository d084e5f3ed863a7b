"""Intake as real processes that are killed, stopped, and thrown out of their group: the store never shows it.

CASHBACK_TEST_SEED chooses the messages and the moments (the machine has a say in those as well).
"""

import os
import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from signal import SIGCONT, SIGINT, SIGSTOP, SIGTERM
from typing import Final, NamedTuple

import psycopg
import pytest

from adapters.postgres.event_store import OrderApplication, OrderDatastore
from adapters.postgres.migrate import migrate
from adapters.records.publishing import Outgoing
from sandbox.servers.postgres import create_database, drop_database
from tests.support.clusters import Cluster
from tests.support.postgres_proxy import PostgresProxy, postgres_proxy
from tests.support.processes import App, Apps, quick_group
from tests.support.running_intake import RunningIntake, new_group
from tests.support.stored import Position, Stored, first_difference, messages_read, offsets, stored
from tests.support.streams import bad_stream, publish

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SEED: Final = int(os.environ.get("CASHBACK_TEST_SEED", "1"))
BATCH_SIZE: Final = 20
MIN_BATCH_BYTES: Final = 2000
WRITERS_LOCK: Final = 4223372036
PARTITIONS: Final = 12
OTHERS_GO_ON_WITHIN_SECONDS: Final = 10.0
Moment = Callable[[], None]


class Scene:
    """A topic, a store, and the processes between them."""

    def __init__(self, apps: Apps, bootstrap: str, topic: str, database_url: str) -> None:
        self.apps = apps
        self.topic = topic
        self.rng = random.Random(SEED)
        self.published = 0
        self._bootstrap = bootstrap
        self._database_url = database_url

    def start(self, **settings: object) -> App:
        return self.apps.start("serve", "--only", "intake", **settings)

    def publish(self, messages: Sequence[Outgoing]) -> None:
        publish(self._bootstrap, messages)
        self.published += len(messages)

    def wait_for_a_batch(self, app: App) -> None:
        before = messages_read(self._database_url, self.topic)
        app.wait_until(lambda: messages_read(self._database_url, self.topic) > before, "a batch")

    def wait_until_read(self, app: App) -> None:
        app.wait_until(self.is_read, f"all of {self.published} messages read")

    def is_read(self) -> bool:
        return messages_read(self._database_url, self.topic) >= self.published

    def offsets(self) -> Mapping[Position, int]:
        return offsets(self._database_url, self.topic)

    @contextmanager
    def half_sent(self) -> Iterator[tuple[App, PostgresProxy]]:
        """A new process of whose next batch PostgreSQL has a part."""
        with postgres_proxy(self._database_url) as proxy:
            proxy.hold_next(min_bytes=MIN_BATCH_BYTES, share=self.rng.random())
            app = self.start(database_url=proxy.url)
            app.wait_until(proxy.is_held.is_set, "a batch on its way")
            yield app, proxy

    @contextmanager
    def in_transaction(self) -> Iterator[App]:
        """A new process whose first batch is all in PostgreSQL, and waits for its turn until the context ends."""
        with psycopg.connect(self._database_url, autocommit=True) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", (WRITERS_LOCK,))
            app = self.start()
            app.wait_until(lambda: connection.execute(_WAITING).fetchone() == (1,), "a batch waits for its turn")
            yield app


_WAITING: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = 'cashback-store' AND wait_event_type = 'Lock'"
)


class Zombie(NamedTuple):
    """A process that stands still, and what stands between it and PostgreSQL."""

    app: App
    proxy: PostgresProxy | None = None

    def wake(self) -> None:
        """Until it has learnt that it was away."""
        self.app.signal(SIGCONT)
        if self.proxy is not None:
            self.proxy.release()
        self.app.wait_until(self._knows_better, "it learns that it was away")

    def _knows_better(self) -> bool:
        return any(
            line["event"].startswith(("another consumer moved", "partitions lost", "the event store can't take"))
            for line in self.app.log
        )


@pytest.fixture
def scene(
    best_broker: Cluster, best_topic: Callable[..., str], database_url: str, tmp_path: Path
) -> Iterator[Scene]:
    name = best_topic()
    settings = {
        "database_url": database_url,
        "kafka_bootstrap": best_broker.bootstrap,
        "kafka_topic": name,
        "kafka_group": new_group(),
        "kafka_config": quick_group(),
        "intake_batch_size": BATCH_SIZE,
    }
    with Apps(tmp_path, settings) as apps:
        yield Scene(apps, best_broker.bootstrap, name, database_url)


@pytest.fixture
def undisturbed(scene: Scene, best_broker: Cluster, postgres_server: str) -> Iterator[Callable[[], Stored]]:
    """What one reader makes of the topic that reads it in peace, into a database of its own."""
    url = create_database(postgres_server, f"cashback_undisturbed_{secrets.token_hex(4)}")
    migrate(url)

    def read() -> Stored:
        store = OrderApplication(url)
        reader = RunningIntake(best_broker.bootstrap, [scene.topic], store, group=new_group(), batch_size=1000)
        with reader as running:
            running.wait_for_records(scene.published)
        store.close()
        return stored(url)

    yield read
    drop_database(url)


def pieces(messages: Sequence[Outgoing], number: int) -> Iterator[Sequence[Outgoing]]:
    for piece in range(number):
        yield messages[len(messages) * piece // number : len(messages) * (piece + 1) // number]


def test_a_process_killed_at_any_moment_leaves_what_an_undisturbed_one_would(
    scene: Scene, undisturbed: Callable[[], Stored], database_url: str
) -> None:
    """Sixteen kills: as it starts, as it joins its group, between batches, while it sends one, and inside the
    transaction of one."""

    def starting() -> None:
        app = scene.start()
        time.sleep(scene.rng.uniform(0, 0.8))
        app.kill()

    def joining() -> None:
        app = scene.start()
        app.wait_for("started")
        time.sleep(scene.rng.uniform(0, 1.2))
        app.kill()

    def reading() -> None:
        app = scene.start()
        app.wait_for("reading")
        time.sleep(scene.rng.uniform(0, 0.2))
        app.kill()

    def sending() -> None:
        with scene.half_sent() as (app, _):
            app.kill()

    def storing() -> None:
        with scene.in_transaction() as app:
            app.kill()

    moments: list[Moment] = [*[starting] * 3, *[joining] * 3, *[reading] * 4, *[sending] * 3, *[storing] * 3]
    scene.rng.shuffle(moments)
    chunks = pieces(bad_stream(scene.topic, 1800, seed=SEED), len(moments) + 1)
    for kill_at_its_moment in moments:
        scene.publish(next(chunks))
        kill_at_its_moment()

    scene.publish(next(chunks))
    app = scene.start()
    scene.wait_until_read(app)
    assert app.terminate() == 0
    assert first_difference(undisturbed(), stored(database_url)) is None


def test_processes_that_join_leave_and_die_share_the_work_without_a_trace(
    scene: Scene, undisturbed: Callable[[], Stored], database_url: str
) -> None:
    """Up to three in one group, with messages arriving all the while."""
    chunks = pieces(bad_stream(scene.topic, 900, seed=SEED + 1), 6)
    scene.publish(next(chunks))
    first, second = scene.start(), scene.start()
    first.wait_for("reading")
    scene.publish(next(chunks))
    second.wait_for("reading")
    third = scene.start()
    scene.publish(next(chunks))
    third.wait_for("started")
    first.kill()
    scene.publish(next(chunks))
    third.wait_for("reading")
    scene.publish(next(chunks))
    assert second.terminate() == 0
    fourth = scene.start()
    scene.publish(next(chunks))
    fourth.wait_for("reading")
    scene.wait_until_read(third)
    assert (third.terminate(), fourth.terminate()) == (0, 0)
    assert first_difference(undisturbed(), stored(database_url)) is None


@contextmanager
def between_batches(scene: Scene) -> Iterator[Zombie]:
    app = scene.start()
    app.wait_for("reading")
    app.signal(SIGSTOP)
    yield Zombie(app)


@contextmanager
def half_sent(scene: Scene) -> Iterator[Zombie]:
    with scene.half_sent() as (app, proxy):
        app.signal(SIGSTOP)
        yield Zombie(app, proxy)


@contextmanager
def in_transaction(scene: Scene) -> Iterator[Zombie]:
    with scene.in_transaction() as app:
        app.signal(SIGSTOP)
    yield Zombie(app)


@pytest.mark.parametrize("standing_still", [between_batches, half_sent, in_transaction])
def test_a_process_that_stood_still_while_others_took_over_writes_nothing_more(
    scene: Scene,
    undisturbed: Callable[[], Stored],
    database_url: str,
    standing_still: Callable[[Scene], AbstractContextManager[Zombie]],
) -> None:
    """It wakes up with a batch in hand that is not its own any more; nor does it keep the others from working."""
    chunks = pieces(bad_stream(scene.topic, 2400, seed=SEED + 2), 12)
    scene.publish(next(chunks))
    with standing_still(scene) as zombie:
        successor = scene.start()
        scene.publish(next(chunks))
        scene.wait_until_read(successor)

        zombie.wake()
        scene.publish(next(chunks))
        scene.wait_until_read(successor)
        assert (zombie.app.terminate(), successor.terminate()) == (0, 0)
    assert first_difference(undisturbed(), stored(database_url)) is None


@pytest.mark.parametrize("is_stopped", [True, False])
def test_two_go_on_at_once_when_a_third_stands_still_while_it_sends_its_batch(
    scene: Scene, undisturbed: Callable[[], Stored], database_url: str, *, is_stopped: bool
) -> None:
    """Under load; the third is stopped, or its wire to PostgreSQL goes dead without a word. It keeps nothing of
    theirs, they take over its partitions, and what it had in hand is never stored."""
    chunks = pieces(bad_stream(scene.topic, 3600, seed=SEED + 4), 12)
    with postgres_proxy(database_url) as proxy:
        third, *others = [
            scene.start(database_url=url, kafka_config=quick_group(**{"max.poll.interval.ms": 6000}))
            for url in (proxy.url, database_url, database_url)
        ]
        apps = (third, *others)
        third.wait_until(
            lambda: set(map(_assigned, apps)) == {PARTITIONS // 3}, "a third of the partitions for each"
        )
        proxy.hold_next(min_bytes=MIN_BATCH_BYTES)
        scene.publish(next(chunks))
        third.wait_until(proxy.is_held.is_set, "a batch on its way")
        if is_stopped:
            third.signal(SIGSTOP)
        else:
            proxy.blackhole()
        before = scene.offsets()
        scene.publish(next(chunks))
        others[0].wait_until(
            lambda: _moved(before, scene.offsets()) >= PARTITIONS * 2 // 3,
            "the others go on",
            within_seconds=OTHERS_GO_ON_WITHIN_SECONDS,
        )
        for _ in range(4):
            scene.publish(next(chunks))
            scene.wait_until_read(others[0])

        when_it_wakes = stored(database_url)
        Zombie(third, proxy).wake()
        assert first_difference(when_it_wakes, stored(database_url)) is None
        scene.publish(next(chunks))
        scene.wait_until_read(others[0])
        assert [app.terminate() for app in apps] == [0, 0, 0]
    assert first_difference(undisturbed(), stored(database_url)) is None


def _assigned(app: App) -> int:
    """How many partitions it has."""
    signs = {"partitions assigned": 1, "partitions revoked": -1}
    return sum(signs.get(line["event"], 0) * int(line.get("partitions", 0)) for line in app.log)


def _moved(before: Mapping[Position, int], after: Mapping[Position, int]) -> int:
    return sum(offset > before.get(position, 0) for position, offset in after.items())


def test_a_connection_that_stands_still_is_cut_off_whatever_it_was_doing(database_url: str) -> None:
    """Between two statements of a transaction within seconds; while it sends one, within the minute."""
    datastore = OrderDatastore(database_url, pool_size=1)
    names = ("idle_in_transaction_session_timeout", "transaction_timeout")
    with datastore.get_connection() as connection:
        found = [connection.execute("SELECT current_setting(%s) AS value", (name,)).fetchone() for name in names]
    datastore.close()
    assert found == [{"value": "5s"}, {"value": "1min"}]


def test_a_process_told_to_stop_ends_its_batch_and_leaves_the_rest_to_others(
    scene: Scene, undisturbed: Callable[[], Stored], database_url: str
) -> None:
    """Under load, by SIGTERM or Ctrl-C, with exit code 0."""
    chunks = pieces(bad_stream(scene.topic, 1600, seed=SEED + 3), 2)
    for number in (SIGTERM, SIGINT):
        scene.publish(next(chunks))
        leaver = scene.start()
        scene.wait_for_a_batch(leaver)
        leaver.signal(number)
        assert leaver.wait() == 0
        assert not scene.is_read()
        problems = [line for line in leaver.log if line["level"] in {"warning", "error"}]
        assert [line for line in problems if line.get("state") != "waiting for partitions"] == []
        assert leaver.has_logged("stopped", exit_code=0)

    successor = scene.start()
    scene.wait_until_read(successor)
    assert successor.terminate() == 0
    assert first_difference(undisturbed(), stored(database_url)) is None
