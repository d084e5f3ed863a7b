"""The roles of deploy/postgres/roles.sql on a real PostgreSQL: what each may do is enough, and no more."""

import secrets
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql as composed

from domain.messages import Kind
from tests.conftest import MakeTopic
from tests.support.clusters import Cluster
from tests.support.commands import run_here
from tests.support.event_store import append, project, sql, streams
from tests.support.messages import record_of
from tests.support.processes import REPOSITORY, Apps, quick_group
from tests.support.running_api import deliver, running_api, tell
from tests.support.running_intake import new_group
from tests.support.sandbox_process import start_sandbox
from tests.support.stored import messages_read
from tests.support.streams import plain_stream, publish
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

GRANTS: Final = (REPOSITORY / "deploy" / "postgres" / "roles.sql").read_text("utf-8")
APPEND_ONLY: Final = (
    "stored_events",
    "posting",
    "attempt",
    "operator_action",
    "replaced_key",
    "accepted_loss",
    "order_transaction",
)
ORDERS: Final = 20
TOKEN: Final = "operators-and-nobody-else"


@dataclass(frozen=True)
class Urls:
    """Of one database, for each who may connect."""

    owner: str
    service: str
    reader: str


@pytest.fixture
def urls(database_url: str) -> Iterator[Urls]:
    """The grants are applied, twice, and there is somebody in each role."""
    sql(database_url, GRANTS)
    sql(database_url, GRANTS)
    names = {role: f"{role}_{secrets.token_hex(4)}" for role in ("cashback_service", "cashback_reader")}
    password = secrets.token_hex(8)
    with psycopg.connect(database_url, autocommit=True) as owner:
        for role, name in names.items():
            made = "CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}"
            parts = (composed.Identifier(name), composed.Literal(password), composed.Identifier(role))
            owner.execute(composed.SQL(made).format(*parts))
        given = urlsplit(database_url)
        others = [
            given._replace(netloc=f"{name}:{password}@{given.netloc.rpartition('@')[2]}").geturl()
            for name in names.values()
        ]
        yield Urls(database_url, *others)
        for name in names.values():
            owner.execute(composed.SQL("DROP ROLE {}").format(composed.Identifier(name)))


def tables(url: str) -> list[str]:
    return [name for (name,) in sql(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]


def is_refused(url: str, statement: str) -> bool:
    try:
        sql(url, statement)
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


class TestService:
    def test_what_was_decided_sent_and_done_can_only_be_added_to(self, urls: Urls) -> None:
        tell(urls.service, record_of(Kind.CREATED))
        deliver(urls.service)
        for table in APPEND_ONLY:
            columns = (
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND is_identity = 'NO'"
            )
            [(column,), *_] = sql(urls.owner, columns, table)
            for statement in (
                f"UPDATE {table} SET {column} = {column}",
                f"DELETE FROM {table}",
                f"TRUNCATE {table}",
                f"SELECT * FROM {table} FOR UPDATE",
                f"ALTER TABLE {table} DISABLE TRIGGER ALL",
                f"DROP TABLE {table}",
            ):
                assert is_refused(urls.service, statement), statement

    def test_nothing_that_guards_the_ledger_can_be_taken_away(self, urls: Urls) -> None:
        """Nor can a table be put in front of another one, nor a call be deleted."""
        for statement in (
            "ALTER TABLE effect DISABLE TRIGGER effect_stays",
            "DROP TRIGGER effect_stays ON effect",
            "CREATE OR REPLACE FUNCTION effect_stays() RETURNS trigger LANGUAGE sql AS 'SELECT NULL'",
            "DELETE FROM effect",
            "DELETE FROM delivery",
            "DELETE FROM quarantine",
            "UPDATE schema_migration SET checksum = NULL",
            "CREATE TABLE mine (a int)",
            "SET session_replication_role = replica",
        ):
            assert is_refused(urls.service, statement), statement

    def test_a_whole_lifecycle_is_served(
        self, urls: Urls, broker: Cluster, topic: MakeTopic, tmp_path: Path
    ) -> None:
        """From the topic to the third party's books, with what people do on the way."""
        orders = topic(2)
        settings: dict[str, object] = {
            "database_url": urls.service,
            "kafka_bootstrap": broker.bootstrap,
            "kafka_topic": orders,
            "kafka_group": new_group(),
            "kafka_config": quick_group(),
            "api_port": 0,
        }
        messages = plain_stream(orders, ORDERS)
        with closing(Apps(tmp_path, settings)) as apps:
            sandbox = start_sandbox(apps)
            service = apps.start("serve", third_party_url=sandbox.url)
            publish(broker.bootstrap, messages)
            all_read = len(messages)
            wait_until(lambda: messages_read(urls.owner, orders) == all_read, "all messages are read")
            open_calls = "SELECT count(*) FROM delivery WHERE settled_version < head_version"
            seen = "SELECT count(*) FROM orders"
            wait_until(lambda: sql(urls.owner, seen) == [(ORDERS,)], "the list of orders is up to date")
            wait_until(lambda: sql(urls.owner, open_calls) == [(0,)], "all calls are settled")
            [(order_id,)] = sql(urls.owner, "SELECT min(order_id) FROM orders")
            here: Any = {"folder": tmp_path, "settings": settings | {"third_party_url": sandbox.url}}
            for command in (
                f"replay {order_id} --mode redeliver",
                "reconcile",
                "rebuild --check",
                "rebuild --read-models",
                "status",
                "statement --day 2026-03-01",
            ):
                ended = run_here(*command.split(), **here)
                assert ended.code == 0, (command, ended)
            assert sandbox.show("violations")["violations"] == []
            assert not [line for line in service.log if "permission denied" in str(line)]
        done = sql(urls.owner, "SELECT count(*) FROM operator_action WHERE action = 'redeliver'")
        assert done == [(1,)]


class TestReader:
    def test_nothing_can_be_written(self, urls: Urls) -> None:
        for table in tables(urls.owner):
            for statement in (f"DELETE FROM {table}", f"INSERT INTO {table} DEFAULT VALUES", f"TRUNCATE {table}"):
                assert is_refused(urls.reader, statement), statement

    def test_nobodys_answers_and_sessions_are_read(self, urls: Urls) -> None:
        refused = {each for each in tables(urls.owner) if is_refused(urls.reader, f"SELECT FROM {each}")}
        assert refused == {"ended_session", "keyed_request"}

    def test_commands_and_the_api_show_all_there_is(self, urls: Urls, tmp_path: Path) -> None:
        """Every list and report."""
        append(urls.owner, streams([7, 8]))
        project(urls.owner)
        deliver(urls.owner)
        here: Any = {"folder": tmp_path, "settings": {"database_url": urls.reader}}
        for command in (
            "orders",
            "order 7",
            "parked",
            "money-may-be-wrong",
            "audit",
            "differences",
            "quarantine",
            "jobs",
            "statement",
            "rebuild --check",
        ):
            ended = run_here(*command.split(), **here)
            assert ended.code == 0, (command, ended)
        with running_api(urls.reader, token=TOKEN) as api:
            for path in (
                "orders",
                "orders/7",
                "parked",
                "quarantine",
                "replays",
                "reconciliation",
                "money-may-be-wrong",
                "audit",
                "statement",
            ):
                assert api.get(f"/api/{path}").status_code == 200, path
