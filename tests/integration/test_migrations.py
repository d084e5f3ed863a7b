"""The schema: made once, whoever makes it and however often, and the same after every path."""

import secrets
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from adapters.postgres import migrate as migrate_module
from adapters.postgres.migrate import (
    DatabaseUnreachable,
    MigrationChanged,
    SchemaTooNew,
    SchemaTooOld,
    check_database,
    migrate,
    migrations,
)
from sandbox.servers.postgres import create_database, drop_database
from tests.support.processes import REPOSITORY, bare_environment, command

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
