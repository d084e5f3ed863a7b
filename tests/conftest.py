"""Servers that tests share, which tests are not of the product, and how hard Hypothesis tries."""

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase
from psycopg import sql

from adapters.postgres.migrate import migrate
from sandbox.servers.apache_kafka import ApacheKafka
from sandbox.servers.embedded_kafka import EmbeddedBroker, create_topic
from sandbox.servers.postgres import EmbeddedPostgres, create_database, drop, drop_database, url_of
from tests.support.clusters import (
    Choice,
    Cluster,
    apache_kafka_lacks,
    given_cluster,
    must_not_be_missing,
    require_apache_kafka,
)
from tests.support.processes import kill_stopped_children

ROOT: Final = Path(__file__).parents[1]
TOOLING: Final = (
    "tests/unit/bench/",
    "tests/unit/documents/",
    "tests/unit/sandbox/",
    "tests/integration/test_sandbox_",
    "tests/acceptance/test_demo.py",
    "tests/acceptance/test_docs",
    "tests/acceptance/test_make_setup.py",
    "tests/acceptance/test_newest_python.py",
)
"""How the paths begin of tests of what stands around the product."""

# A slow machine is no error: no example has a deadline, and slow generation is let pass. Each run draws other
# examples, and those that failed come first in the next: under CI=true Hypothesis would do neither by itself.
_PATIENT = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
    derandomize=False,
    database=DirectoryBasedExampleDatabase(
        os.environ.get("HYPOTHESIS_STORAGE_DIRECTORY") or ROOT / ".hypothesis" / "examples"
    ),
)
settings.register_profile("quick", _PATIENT, max_examples=100)
settings.register_profile("full", _PATIENT, max_examples=400)
settings.register_profile("hunt", _PATIENT, max_examples=20_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

PARTITIONS = 12


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server where databases may be made: CASHBACK_TEST_DATABASE_URL, or the embedded one."""
    given = os.environ.get("CASHBACK_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        yield server.url


@pytest.fixture(scope="session")
def _template(postgres_server: str) -> Iterator[str]:
    """The name of a migrated database that nobody is connected to."""
    name = f"cashback_template_{secrets.token_hex(4)}"
    url = create_database(postgres_server, name)
    migrate(url)
    yield name
    drop_database(url)


@pytest.fixture(scope="session")
def _maintenance(postgres_server: str) -> Iterator[psycopg.Connection]:
    """Makes and drops the databases of all tests: to connect for each took a third of the time of that."""
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        yield connection


@pytest.fixture
def database_url(postgres_server: str, _template: str, _maintenance: psycopg.Connection) -> Iterator[str]:
    """A migrated database of the test's own: a copy of the template, dropped at the end."""
    name = f"cashback_test_{secrets.token_hex(4)}"
    names = (sql.Identifier(name), sql.Identifier(_template))
    _maintenance.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
    yield url_of(postgres_server, name)
    drop(_maintenance, name)


@pytest.fixture(scope="session")
def _embedded_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture(scope="session")
def apache_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Apache Kafka itself, for what the embedded broker can't do. Where the machine lacks what it needs, its tests
    are skipped and say why; in CI that is a failure."""
    given = given_cluster()
    if given is not None:
        yield given
        return
    require_apache_kafka()
    with ApacheKafka(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> Cluster:
    """For what any Kafka can show: the one chosen with `--kafka`, or that CASHBACK_KAFKA_BOOTSTRAP names."""
    on_apache = given_cluster() or request.config.getoption("--kafka") == Choice.APACHE
    cluster: Cluster = request.getfixturevalue("apache_kafka" if on_apache else "_embedded_broker")
    return cluster


@pytest.fixture(scope="session")
def best_broker(request: pytest.FixtureRequest) -> Cluster:
    """For what is worth showing on Apache Kafka, and can be shown on the embedded broker where there is none."""
    embedded = apache_kafka_lacks() is not None and not must_not_be_missing()
    cluster: Cluster = request.getfixturevalue("_embedded_broker" if embedded else "apache_kafka")
    return cluster


MakeTopic = Callable[..., str]


def _topics_on(cluster: Cluster) -> Iterator[MakeTopic]:
    made: list[str] = []

    def make(partitions: int = PARTITIONS) -> str:
        name = f"orders-{secrets.token_hex(4)}"
        assert create_topic(cluster.bootstrap, name, partitions) == partitions
        made.append(name)
        return name

    yield make
    if made and given_cluster():  # it isn't ours: leave nothing there
        AdminClient({"bootstrap.servers": cluster.bootstrap}).delete_topics(made)


@pytest.fixture
def topic(broker: Cluster) -> Iterator[MakeTopic]:
    """Makes a new topic, of 12 partitions unless told otherwise, and answers its name."""
    yield from _topics_on(broker)


@pytest.fixture
def best_topic(best_broker: Cluster) -> Iterator[MakeTopic]:
    """The same on `best_broker`."""
    yield from _topics_on(best_broker)


@pytest.fixture
def make_apache_topic(apache_kafka: Cluster) -> Iterator[MakeTopic]:
    """The same on Apache Kafka."""
    yield from _topics_on(apache_kafka)


def is_tooling(path: Path) -> bool:
    """Whether the tests in this file are of something else than the product."""
    return path.relative_to(ROOT).as_posix().startswith(TOOLING)


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_tooling(item.path):
            item.add_marker("tooling")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """What a test stopped and didn't wake up holds up no teardown, and is not left behind, whatever happened."""
    kill_stopped_children()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kafka",
        choices=list(Choice),
        default=Choice.EMBEDDED,
        help="the broker for tests that any can serve; CASHBACK_KAFKA_BOOTSTRAP names a cluster instead",
    )


def pytest_report_header(config: pytest.Config) -> str:
    given = given_cluster()
    chosen = given.bootstrap if given else config.getoption("--kafka")
    lacking = apache_kafka_lacks()
    return f"kafka: {chosen}" + (f"; no Apache Kafka ({lacking})" if lacking else "")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names every test that didn't run: pytest's own summary folds them into one line a reason."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section("tests that did not run")
        for report in skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            terminalreporter.write_line(f"{report.nodeid}: {str(reason).removeprefix('Skipped: ')}")
