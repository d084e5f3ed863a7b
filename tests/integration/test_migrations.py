"""The schema: made once, whoever makes it and however often, and the same after every path."""

import asyncio
import secrets
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from adapters.postgres import migrate as migrate_module
from adapters.postgres.job_work import PostgresJobWork
from adapters.postgres.jobs import PostgresJobs
from adapters.postgres.migrate import (
    DatabaseUnreachable,
    MigrationChanged,
    SchemaTooNew,
    SchemaTooOld,
    WrongEncoding,
    check_database,
    migrate,
    migrations,
)
from adapters.postgres.pool import Database
from adapters.records.jobs import (
    ALL_KINDS,
    ComparisonFinding,
    ComparisonResult,
    Foretold,
    Job,
    JobClaim,
    JobState,
)
from adapters.records.operators import Operator, Role, Via
from domain.decision import decide
from domain.identifiers import MAX_ORDER_ID
from domain.intervention import release
from domain.lifecycle import Status
from domain.messages import Kind
from domain.order import Order, fold
from projections.reconciliation import BookEntry, Verdict
from projections.redelivery import How, Include, RedeliveryOptions
from sandbox.servers.postgres import create_database, drop_database, url_of
from tests.support.decoding import read
from tests.support.event_store import append, project, stream, streams
from tests.support.messages import BY, NOW_NS, record_of
from tests.support.processes import REPOSITORY, bare_environment, command, run_app

pytestmark = pytest.mark.slow


@pytest.fixture
def empty(postgres_server: str) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    url = create_database(postgres_server, f"cashback_empty_{secrets.token_hex(4)}")
    yield url
    drop_database(url)


def schema(url: str) -> list[tuple[Any, ...]]:
    """All columns, constraints and indexes, and the rows that migrations put in."""
    columns = "table_name, column_name, ordinal_position, data_type, column_default, is_nullable, is_identity"
    questions = [
        f"SELECT {columns} FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 3",
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint ORDER BY 1, 2",
        "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2",
        "SELECT relname, reloptions FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
        "SELECT number, name, checksum FROM schema_migration ORDER BY 1",
        "SELECT name, notification_id FROM projection_position ORDER BY 1",
    ]
    with psycopg.connect(url) as connection:
        return [row for question in questions for row in connection.execute(question).fetchall()]


def test_migrations_are_numbered_from_one_without_a_gap() -> None:
    """So that two people who add one at the same time notice it."""
    assert [migration.number for migration in migrations()] == list(range(1, len(migrations()) + 1))


def test_a_second_migration_finds_nothing_to_do(empty: str) -> None:
    """And changes nothing."""
    assert migrate(empty) == migrations()
    once = schema(empty)
    assert migrate(empty) == []
    assert schema(empty) == once
    check_database(empty)


def make_version(url: str, number: int) -> None:
    """As the database was when there were only so many migrations, and no checksums of them."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "CREATE TABLE schema_migration (number integer PRIMARY KEY, name text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT now())"
        )
        for migration in migrations()[:number]:
            connection.execute(migration.sql)
            row = migration.number, migration.name
            connection.execute("INSERT INTO schema_migration VALUES (%s, %s)", row)


@pytest.mark.parametrize("number", range(len(migrations())))
def test_an_older_database_is_brought_up_to_date(empty: str, database_url: str, number: int) -> None:
    """From every version that there ever was; until then the service asks for it."""
    make_version(empty, number)
    with pytest.raises(SchemaTooOld, match=f"{number} of {len(migrations())}: run `python app.py migrate`"):
        check_database(empty)

    assert migrate(empty) == migrations()[number:]
    assert schema(empty) == schema(database_url)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the migrations that this version has: a copy, to be edited."""
    folder = tmp_path / "migrations"
    shutil.copytree(REPOSITORY / "adapters" / "postgres" / "migrations", folder)
    monkeypatch.setattr(migrate_module, "files", lambda _: tmp_path)
    return folder


def checksums(url: str) -> list[str | None]:
    with psycopg.connect(url) as connection:
        return [text for (text,) in connection.execute("SELECT checksum FROM schema_migration ORDER BY number")]


def test_what_was_applied_is_kept_as_a_checksum(empty: str) -> None:
    """One for each migration."""
    migrate(empty)
    assert checksums(empty) == [migration.checksum for migration in migrations()]
    assert len(set(checksums(empty))) == len(migrations())


def test_a_migration_that_was_edited_after_it_was_applied_is_refused(empty: str, files: Path) -> None:
    """In one line that names it; what is missing isn't applied either. The service runs on what is there."""
    migrate(empty)
    before = schema(empty)
    edited = files / "0005_bulk_replays.sql"
    edited.write_text(edited.read_text("utf-8") + "-- a word more\n", "utf-8")
    check_database(empty)
    (files / f"{len(migrations()) + 1:04d}_next.sql").write_text("CREATE TABLE next ();", "utf-8")
    with pytest.raises(MigrationChanged) as refused:
        migrate(empty)
    assert str(refused.value) == (
        "migration 0005_bulk_replays was changed after it was applied to this database:"
        " run a version that has it as it was"
    )
    assert schema(empty) == before


def test_how_its_lines_end_is_no_change_of_a_migration(empty: str, files: Path) -> None:
    """A checkout on another system has its own way."""
    migrate(empty)
    for file in files.iterdir():
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert migrate(empty) == []


def test_a_database_of_before_the_checksums_gets_them_from_the_next_migration(empty: str, files: Path) -> None:
    """Though nothing else is to be done; from then on edits are noticed."""
    make_version(empty, len(migrations()))
    check_database(empty)
    assert migrate(empty) == []
    assert checksums(empty) == [migration.checksum for migration in migrations()]
    edited = files / "0001_event_store.sql"
    edited.write_text(edited.read_text("utf-8").replace("CREATE", "create"), "utf-8")
    with pytest.raises(MigrationChanged, match="migration 0001_event_store was changed"):
        migrate(empty)


def test_what_an_older_version_applied_meanwhile_gets_its_checksum_too(empty: str) -> None:
    """It writes its row without one."""
    migrate(empty)
    with psycopg.connect(empty) as connection:
        connection.execute("UPDATE schema_migration SET checksum = NULL WHERE number = 7")
    assert migrate(empty) == []
    assert checksums(empty) == [migration.checksum for migration in migrations()]


def test_checksums_are_filled_by_several_at_once(empty: str, database_url: str) -> None:
    """As the migrations themselves are applied."""
    make_version(empty, len(migrations()) - 1)
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(migrate, [empty] * 4))
    assert sorted(done) == [[], [], [], migrations()[-1:]]
    assert schema(empty) == schema(database_url)


def test_who_checks_the_schema_does_not_wait_for_a_migration_that_runs(empty: str) -> None:
    """Nor for the column of the checksums, which comes last of all."""
    make_version(empty, 13)
    answers: list[Any] = []
    with psycopg.connect(empty) as connection:
        connection.execute("SELECT FROM effect")
        running = threading.Thread(target=lambda: answers.append(migrate(empty)))
        running.start()
        blocked = "SELECT count(*) FROM pg_locks WHERE relation = 'effect'::regclass AND NOT granted"
        while connection.execute(blocked).fetchone() == (0,):
            assert running.is_alive()
        with pytest.raises(SchemaTooOld, match="at migration 13"):
            check_database(f"{empty}?options=-c%20lock_timeout%3D5s")
    running.join(60)
    assert answers == [migrations()[13:]]


def test_a_ledger_of_an_older_version_takes_corrections(empty: str) -> None:
    """Its calls stay as they were; an order may still be created once and ended once."""
    make_version(empty, 13)
    insert = "INSERT INTO effect (order_id, version, kind, idempotency_key, body, body_digest) VALUES"
    row = "(7, {}, '{}', gen_random_uuid(), 'x', sha256('x'))"
    kinds = ("create", "update", "update", "complete")
    with psycopg.connect(empty) as connection:
        for version, kind in enumerate(kinds, 1):
            connection.execute(f"{insert} {row.format(version, kind)}")
        before = connection.execute("SELECT * FROM effect ORDER BY version").fetchall()
    migrate(empty)
    with psycopg.connect(empty, autocommit=True) as connection:
        after = connection.execute("SELECT * FROM effect ORDER BY version").fetchall()
        assert [row[: len(before[0])] for row in after] == before
        for version in (5, 6):
            connection.execute(f"{insert} {row.format(version, 'correct')}")
        for kind in ("create", "complete", "cancel"):
            with pytest.raises(psycopg.errors.UniqueViolation, match="effect_once"):
                connection.execute(f"{insert} {row.format(7, kind)}")
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute(f"{insert} {row.format(7, 'refund')}")


def test_orders_that_are_doubtful_already_are_marked_in_the_ledger(empty: str) -> None:
    """With a call or without. What the list of orders hasn't got yet is read once more."""
    (number,) = (each.number for each in migrations() if each.name == "doubtful_orders")
    make_version(empty, number - 1)
    with psycopg.connect(empty) as connection:
        connection.execute(
            "INSERT INTO orders (order_id, version, status, held, rejected, superseded, doubts, recorded_at_ns)"
            " SELECT id, 1, 'PENDING', 0, 0, 0, CASE id WHEN 3 THEN '{}' ELSE '{late}'::text[] END, 0"
            " FROM generate_series(1, 3) AS id"
        )
        connection.execute(
            "INSERT INTO delivery (order_id, head_version, settled_version) VALUES (2, 4, 4), (3, 1, 0)"
        )
        connection.execute(
            "UPDATE projection_position SET notification_id = CASE name WHEN 'orders' THEN 7 ELSE 9 END"
        )
    migrate(empty)
    with psycopg.connect(empty) as connection:
        marked = connection.execute(
            "SELECT order_id, head_version, is_doubtful FROM delivery ORDER BY 1"
        ).fetchall()
        positions = connection.execute(
            "SELECT name, notification_id FROM projection_position ORDER BY 1"
        ).fetchall()
    assert marked == [(1, 0, True), (2, 4, True), (3, 1, False)]
    assert positions == [("orders", 7), ("third-party", 7)]


def test_what_was_decided_before_there_were_statements_is_in_them(empty: str, database_url: str) -> None:
    """The postings are those that the projection would have made, whatever else is in the streams; and a lookup
    that settled a call says so."""
    (number,) = (each.number for each in migrations() if each.name == "statement")
    make_version(empty, number - 1)
    order = Order(MAX_ORDER_ID)
    held = decide(order, read(record_of(Kind.UPDATED, order_id=MAX_ORDER_ID)), now_ns=NOW_NS)
    given_up = release(fold(order, held) or order, BY, now_ns=NOW_NS)
    ends = streams([3], (Kind.CREATED, Kind.CANCELLED))
    events = [*streams([1, 2]), *ends, *stream(MAX_ORDER_ID - 1), *held, *given_up]
    append(empty, events)
    attempt = (
        "INSERT INTO attempt (kind, order_id, version, started_at, duration_ms, outcome)"
        " VALUES (%s, 1, %s, now(), 1, %s)"
    )
    with psycopg.connect(empty) as connection:
        connection.execute(
            "INSERT INTO effect (order_id, version, kind, idempotency_key, body, body_digest, state)"
            " VALUES (1, 1, 'create', gen_random_uuid(), 'x', 'x', 'delivered'),"
            " (1, 3, 'complete', gen_random_uuid(), 'x', 'x', 'due')"
        )
        for version in (1, 3):
            connection.execute(attempt, ("call", version, "in_doubt"))
            connection.execute(attempt, ("lookup", version, "found"))
    migrate(empty)
    append(database_url, events)
    project(database_url)
    postings = "SELECT * FROM posting ORDER BY order_id, version"
    with psycopg.connect(empty) as old, psycopg.connect(database_url) as new:
        expected = new.execute(postings).fetchall()
        assert expected != []
        assert old.execute(postings).fetchall() == expected
        found = old.execute("SELECT kind, version FROM attempt WHERE found_done").fetchall()
    assert found == [("lookup", 1)]


def test_bulk_replays_and_comparisons_become_jobs(empty: str) -> None:
    """Whatever their state, in the order in which they were asked for. Those at work are taken over by the new
    version, where they stood; a preview is started with the token that it had."""
    (number,) = (each.number for each in migrations() if each.name == "jobs")
    make_version(empty, number - 1)
    states = ["previewed", "running", "cancelled", "done", "failed"]
    bulk = {state: UUID(int=n) for n, state in enumerate(states, 1)}
    compared = {state: UUID(int=n) for n, state in enumerate(states[1:], 11)}
    with psycopg.connect(empty) as connection:
        for n, (state, job_id) in enumerate(bulk.items()):
            row = {
                "id": job_id,
                "state": state,
                "orders": [2, 3, 5, 7] if state != "previewed" else [20, 30, 50, 70],
                "digest": sha256(f"token of {state}".encode()).digest(),
                "hour": n,
                "over": int(state != "previewed"),
                "failures": Jsonb([] if state == "previewed" else [[3, "ill"], [5, "gone"]]),
                "lease": uuid4() if state == "running" else None,
            }
            connection.execute(
                "INSERT INTO bulk_replay (id, mode, state, selection, reason, rate_per_second, orders, total,"
                " cashback, token_digest, expires_at, done, failed, failures, requested_at, lease_token,"
                " lease_until, wish, calls, suppressed, amount_at_risk)"
                " VALUES (%(id)s, 'redeliver', %(state)s, '{\"parked\": true}', 'a test', 8, %(orders)s, 4, 30.50,"
                " %(digest)s, now() + interval '1 h', %(over)s, 2 * %(over)s, %(failures)s,"
                " '2025-03-01Z'::timestamptz + %(hour)s * interval '1 h', %(lease)s, now() - interval '1 s',"
                ' \'{"how": "resume", "nonce": "n", "include": ["skipped"]}\', 9, 1, 0.30)',
                row,
            )
        connection.execute(
            "INSERT INTO operator_action (operator, via, role, action, reason, bulk_id)"
            " VALUES ('Ada', 'api', 'operator token', 'bulk_start', 'a test', %s)",
            (bulk["running"],),
        )
        for n, (state, job_id) in enumerate(compared.items()):
            orders = None if state in {"running", "done"} else [1, 2, 4, 8, 9]
            lease = uuid4() if state == "running" else None
            connection.execute(
                "INSERT INTO comparison (id, state, orders, total, per_second, operator, reason, place, verdicts,"
                " findings, requested_at, lease, lease_until) VALUES (%s, %s, %s, 5, 4, 'Bea', 'theirs', 4,"
                ' \'{"agrees": 2, "amount": 1}\', \'[{"orderId": 4, "class": "amount", "detail": "why", "ours":'
                ' {"status": "COMPLETED", "cashbackAmount": 6.10}, "theirs": null}]\','
                " '2025-03-01T00:30Z'::timestamptz + %s * interval '1 h', %s, now() - interval '1 s')",
                (job_id, state, orders, n, lease),
            )
    assert migrate(empty) == migrations()[number - 1 :]

    async def look() -> tuple[list[Job], list[JobClaim | None], Job]:
        async with Database(empty) as database:
            jobs, work = PostgresJobs(database), PostgresJobWork(database)
            listed = await jobs.page(None, 20)
            claims = [await work.claim(ALL_KINDS) for _ in range(3)]
            started = await jobs.start(None, "token of previewed", by=Operator("Cy", Via.API))
            return listed, claims, started

    listed, claims, started = asyncio.run(look())
    order = [*zip(bulk.values(), compared.values(), strict=False)]
    assert [job.id for job in reversed(listed)] == [*(each for pair in order for each in pair), bulk["failed"]]
    by_id = {job.id: job for job in listed}
    for state, job_id in bulk.items():
        job = by_id[job_id]
        over = 0 if state == "previewed" else 1
        assert (job.kind, job.state, job.done, job.failed, job.total) == ("redeliver", state, over, 2 * over, 4)
        assert (job.cashback, job.selection) == (Decimal("30.50"), {"parked": True})
        assert job.failures == ([(3, "ill"), (5, "gone")] if over else [])
        assert job.options == RedeliveryOptions(How.RESUME, "n", frozenset({Include.SKIPPED}))
        assert job.foretold == Foretold(9, 1, Decimal("0.30"))
    for state, job_id in compared.items():
        job = by_id[job_id]
        assert (job.kind, job.state, job.done, job.total, job.operator) == ("compare", state, 3, 5, "Bea")
        assert job.comparison == ComparisonResult(
            state in {"running", "done"},
            {Verdict.AGREES: 2, Verdict.AMOUNT: 1},
            [ComparisonFinding(4, Verdict.AMOUNT, BookEntry(Status.COMPLETED, Decimal("6.10")), None, "why")],
        )
    comparison, replay, none = claims
    assert none is None
    assert replay is not None
    assert comparison is not None
    assert (replay.id, replay.orders, replay.place, replay.over) == (bulk["running"], [2, 3, 5, 7], 5, 3)
    assert replay.by == Operator("Ada", Via.API, Role.OPERATOR)
    assert (comparison.id, comparison.orders, comparison.place, comparison.over) == (
        compared["running"],
        None,
        4,
        3,
    )
    assert (started.id, started.state) == (bulk["previewed"], JobState.RUNNING)


def test_processes_that_migrate_at_once_do_the_work_once(empty: str, database_url: str) -> None:
    """All succeed; one of them did it."""
    running = [
        subprocess.Popen(
            command("migrate"),
            cwd=REPOSITORY,
            env=bare_environment({"database_url": empty}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(4)
    ]
    said = [process.communicate(timeout=60)[0].splitlines() for process in running]
    assert [process.returncode for process in running] == [0] * 4
    all_of_them = [f"migrated: {migration.number:04d} {migration.name}" for migration in migrations()]
    assert sorted(said) == sorted([all_of_them, *[["nothing to migrate"]] * 3])
    assert schema(empty) == schema(database_url)


def test_a_migration_that_fails_leaves_nothing_behind(empty: str) -> None:
    """All of them are one transaction."""
    with psycopg.connect(empty) as connection:
        connection.execute("CREATE TABLE effect (id integer)")
    with pytest.raises(DatabaseUnreachable, match='PostgreSQL refuses: relation "effect" already exists'):
        migrate(empty)
    with psycopg.connect(empty) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert tables == [("effect",)]


def test_a_check_while_another_migrates_finds_the_old_schema_and_does_not_wait(empty: str) -> None:
    """A service that starts meanwhile ends with a clear word, and its supervisor starts it again."""
    with psycopg.connect(empty) as connection:
        connection.execute("CREATE TABLE schema_migration (number integer PRIMARY KEY, name text NOT NULL)")
        with pytest.raises(SchemaTooOld, match="at migration 0"):
            check_database(empty)


def test_a_migration_waits_for_the_one_that_runs(empty: str) -> None:
    """It takes the lock before it looks at what there is."""
    answers: list[Any] = []
    with psycopg.connect(empty) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(4223372037)")
        waiting = threading.Thread(target=lambda: answers.append(migrate(empty)))
        waiting.start()
        blocked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while connection.execute(blocked).fetchone() == (0,):
            assert waiting.is_alive()
    waiting.join(60)
    assert answers == [migrations()]


def test_a_database_of_a_newer_version_is_left_alone(database_url: str) -> None:
    """Neither served nor migrated."""
    newest = migrations()[-1].number
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO schema_migration VALUES (%s, 'from the future')", (newest + 1,))
    for refused in (check_database, migrate):
        with pytest.raises(SchemaTooNew, match=f"has migration {newest + 1}, and this version knows {newest}"):
            refused(database_url)


def test_a_user_without_rights_is_told_so(empty: str) -> None:
    """In PostgreSQL's words, the first line of them."""
    name = f"guest_{secrets.token_hex(4)}"
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'p'").format(sql.Identifier(name)))
        try:
            with pytest.raises(DatabaseUnreachable) as refused:
                migrate(f"postgresql://{name}:p@{empty.partition('@')[2]}")
        finally:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
    assert str(refused.value) == "PostgreSQL refuses: permission denied for schema public"


@pytest.fixture(params=["SQL_ASCII", "LATIN1"])
def other_encoding(request: pytest.FixtureRequest, postgres_server: str) -> Iterator[tuple[str, str]]:
    """An encoding, and the URL of a database that has it."""
    name = f"cashback_encoding_{secrets.token_hex(4)}"
    statement = "CREATE DATABASE {} ENCODING {} TEMPLATE template0 LOCALE_PROVIDER libc LOCALE 'C'"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Literal(request.param)))
    url = url_of(postgres_server, name)
    yield request.param, url
    drop_database(url)


def test_a_database_that_cannot_keep_every_text_is_refused_in_one_line(
    other_encoding: tuple[str, str], tmp_path: Path
) -> None:
    """Before anything is made in it, and before anything is served from it."""
    encoding, url = other_encoding
    for refused in (migrate, check_database):
        with pytest.raises(WrongEncoding, match=f"has the encoding {encoding}, and must have UTF8"):
            refused(url)
    for arguments in (["migrate"], ["serve", "--only", "push"]):
        done = run_app(*arguments, folder=tmp_path, settings={"database_url": url})
        assert done.returncode == 3, done.stderr
        assert encoding in done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regclass('schema_migration')").fetchone() == (None,)
