"""Servers that tests share, and how hard Hypothesis tries."""

import os
import secrets
from collections.abc import Callable, Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql

from adapters.postgres.migrate import migrate
from sandbox.apache_kafka import ApacheKafka, missing
from sandbox.broker import EmbeddedBroker, create_topic
from sandbox.postgres import EmbeddedPostgres, create_database, drop_database

# A slow machine is no error: no example has a deadline, and slow generation is let pass.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("quick", _PATIENT, max_examples=50, derandomize=True)
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


@pytest.fixture
def database_url(postgres_server: str, _template: str) -> Iterator[str]:
    """A migrated database of the test's own: a copy of the template, dropped at the end."""
    name = f"cashback_test_{secrets.token_hex(4)}"
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(_template))
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(statement)
    url = create_database(postgres_server, name)  # is there already: this only makes the URL
    yield url
    drop_database(url)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """A Kafka-compatible broker; `broker.bootstrap` is its address."""
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture(scope="session")
def apache_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """Apache Kafka itself, for what the embedded broker can't do. Where the machine lacks what it needs, its tests
    are skipped and say why; in CI that is a failure."""
    lacking = missing()
    if lacking is not None:
        if os.environ.get("CI"):
            pytest.fail(f"Apache Kafka must be tested in CI: {lacking}")
        pytest.skip(f"no Apache Kafka: {lacking}")
    with ApacheKafka(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture
def topic(broker: EmbeddedBroker) -> Callable[..., str]:
    """Makes a new topic, of 12 partitions unless told otherwise, and answers its name."""

    def make(partitions: int = PARTITIONS) -> str:
        name = f"orders-{secrets.token_hex(4)}"
        assert create_topic(broker.bootstrap, name, partitions) == partitions
        return name

    return make
