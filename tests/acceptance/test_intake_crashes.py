"""Intake as real processes that are killed, stopped, and thrown out of their group: the store never shows it.

CASHBACK_TEST_SEED chooses the messages and the moments (the machine has a say in those as well).
"""

import os
import random
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from signal import SIGCONT, SIGINT, SIGSTOP, SIGTERM
from typing import Final

import psycopg
import pytest

from adapters.kafka.publisher import Outgoing
from adapters.postgres.migrate import migrate
from adapters.postgres.store import TRANSACTION_TIMEOUT_SECONDS, OrderApplication, OrderDatastore
from sandbox.postgres import create_database, drop_database
from tests.integration.waiting import DEADLINE_SECONDS
from tests.support.clusters import Cluster
from tests.support.processes import App, Apps, quick_group
from tests.support.running_intake import RunningIntake, new_group
from tests.support.stored import Stored, first_difference, messages_read, stored
from tests.support.streams import bad_stream, publish

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SEED: Final = int(os.environ.get("CASHBACK_TEST_SEED", "1"))
BATCH_SIZE: Final = 20
Moment = Callable[[App], None]


class Scene:
    """A topic, a store, and the processes between them."""

    def __init__(self, apps: Apps, bootstrap: str, topic: str, database_url: str) -> None:
        self.apps = apps
        self.topic = topic
        self.rng = random.Random(SEED)
        self.published = 0
        self._bootstrap = bootstrap
        self._database_url = database_url

    def start(self) -> App:
        return self.apps.start("serve", "--only", "intake")

    def publish(self, messages: Sequence[Outgoing]) -> None:
        publish(self._bootstrap, messages)
        self.published += len(messages)

    def wait_for_a_batch(self, app: App) -> None:
        before = messages_read(self._database_url, self.topic)
        app.wait_until(lambda: messages_read(self._database_url, self.topic) > before, "a batch")

    def wait_until_read(self, app: App) -> None:
        """As long as a process that stands still may keep the others from storing anything."""
        seconds = DEADLINE_SECONDS + TRANSACTION_TIMEOUT_SECONDS
        app.wait_until(self.is_read, f"all of {self.published} messages read", within_seconds=seconds)

    def is_read(self) -> bool:
        return messages_read(self._database_url, self.topic) >= self.published

    def stop_in_transaction(self, app: App) -> bool:
        """Stops the process while it holds an open transaction; False if nothing was left to read meanwhile."""
        with psycopg.connect(self._database_url, autocommit=True) as connection:
            while not self.is_read():
                app.signal(SIGSTOP)
                if _has_open_transaction(connection):
                    return True
                app.signal(SIGCONT)
                time.sleep(self.rng.uniform(0, 0.01))
        return False


def _has_open_transaction(connection: psycopg.Connection) -> bool:
    """Asked twice: what a process that stands still left to the server is not open for long."""
    question = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'cashback-store' AND state LIKE 'idle in transaction%'"
    )
    return all(connection.execute(question).fetchone() != (0,) for _ in range(2))


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
    """Sixteen kills: as it starts, as it joins its group, between batches, and inside the transaction of one."""
    in_transaction: list[bool] = []

    def starting(_: App) -> None:
        time.sleep(scene.rng.uniform(0, 0.8))

    def joining(app: App) -> None:
        app.wait_for("started")
        time.sleep(scene.rng.uniform(0, 1.2))

    def reading(app: App) -> None:
        app.wait_for("reading")
        time.sleep(scene.rng.uniform(0, 0.2))

    def storing(app: App) -> None:
        app.wait_for("partitions assigned")
        in_transaction.append(scene.stop_in_transaction(app))

    moments: list[Moment] = [*[starting] * 3, *[joining] * 3, *[reading] * 4, *[storing] * 6]
    scene.rng.shuffle(moments)
    chunks = pieces(bad_stream(scene.topic, 1800, seed=SEED), len(moments) + 1)
    for moment in moments:
        scene.publish(next(chunks))
        app = scene.start()
        moment(app)
        app.kill()
    assert any(in_transaction), "no kill hit an open transaction: the test shows less than it says"

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


@pytest.mark.parametrize("inside_transaction", [True, False])
def test_a_process_that_stood_still_while_others_took_over_writes_nothing_more(
    scene: Scene, undisturbed: Callable[[], Stored], database_url: str, *, inside_transaction: bool
) -> None:
    """It wakes up with a batch in hand that is not its own any more; nor does it keep the others from working,
    though it held the lock that all writers need."""
    chunks = pieces(bad_stream(scene.topic, 2400, seed=SEED + 2), 12)
    zombie = scene.start()
    zombie.wait_for("reading")
    scene.publish(next(chunks))
    if inside_transaction:
        while not scene.stop_in_transaction(zombie):
            scene.publish(next(chunks))
    else:
        zombie.signal(SIGSTOP)
    successor = scene.start()
    scene.publish(next(chunks))
    scene.wait_until_read(successor)

    zombie.signal(SIGCONT)
    zombie.wait_until(lambda: _knows_better(zombie), "it learns that it was away")
    scene.publish(next(chunks))
    scene.wait_until_read(successor)
    assert (zombie.terminate(), successor.terminate()) == (0, 0)
    assert first_difference(undisturbed(), stored(database_url)) is None


def test_a_connection_that_stands_still_is_cut_off_whatever_it_was_doing(database_url: str) -> None:
    """Between two statements of a batch within seconds; while it sends one, within the minute."""
    datastore = OrderDatastore(database_url, pool_size=1)
    names = ("idle_in_transaction_session_timeout", "transaction_timeout")
    with datastore.get_connection() as connection:
        found = [connection.execute("SELECT current_setting(%s) AS value", (name,)).fetchone() for name in names]
    datastore.close()
    assert found == [{"value": "5s"}, {"value": "1min"}]


def _knows_better(zombie: App) -> bool:
    return any(
        line["event"].startswith(("another consumer moved", "partitions lost", "the event store can't take"))
        for line in zombie.log
    )


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
