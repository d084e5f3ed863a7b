"""The command line: help without any server, every failure to start told in one line, and completion in bash."""

import os
import re
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

import psycopg
import pytest
import typer

from adapters.cli.exit_codes import EPILOG
from adapters.kafka.consumer.config import check_consumer_config
from adapters.postgres.migrate import migrations
from app import app, serve
from domain.errors import BadSetting
from sandbox.servers.free_port import LOOPBACK
from tests.support.commands import run_here
from tests.support.processes import REPOSITORY, Apps, run_app
from tests.support.waiting import DEADLINE_SECONDS

pytestmark = pytest.mark.slow

COMMANDS: Final = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # a group has commands
NEED_THE_DATABASE: Final = (
    ("serve", "--only", "intake"),
    ("serve", "--only", "push"),
    ("migrate",),
    ("rebuild",),
    ("replay", "1", "--mode", "redeliver"),
    ("replay-many", "--status", "PENDING"),
    ("retry", "1"),
    ("quarantine",),
    ("order", "1"),
    ("orders", "--json"),
    ("status",),
)
SECRET: Final = "s3cr3t"


def refusal(folder: Path, *arguments: str, exit_code: int, **settings: object) -> str:
    """The one line that a command says before it ends."""
    result = run_app(*arguments, folder=folder, settings=settings)
    lines = result.stderr.splitlines()
    assert (result.returncode, len(lines), result.stdout) == (exit_code, 1, ""), result.stderr
    assert lines[0].startswith("error: ")
    assert SECRET not in lines[0]
    return lines[0]


# Help.


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_that_needs_no_server(name: str, tmp_path: Path) -> None:
    """Nor a setting, nor a network."""
    code, out, err = run_here(name, "--help", folder=tmp_path, settings={})
    assert (code, err) == (0, "")
    assert f"app.py {name}" in out


def test_without_a_command_the_commands_are_listed(tmp_path: Path) -> None:
    """All of them, and the exit codes; that there was no command is still a mistake."""
    asked, bare = run_app("--help", folder=tmp_path), run_app(folder=tmp_path)
    assert (asked.returncode, asked.stderr) == (0, "")
    assert all(name in asked.stdout for name in COMMANDS)
    assert EPILOG in " ".join(asked.stdout.split())
    assert (bare.returncode, bare.stdout.rstrip(), bare.stderr) == (2, asked.stdout.rstrip(), "")


def test_looking_at_an_order_loads_neither_a_server_nor_a_client(tmp_path: Path) -> None:
    """It would make people wait; and the help needs still less."""
    heavy = {"fastapi", "uvicorn", "aiohttp", "httpx", "confluent_kafka", "sandbox"}
    assert loaded_with("adapters.cli.order") & heavy == set()
    assert loaded_with("app") & (heavy | {"rich", "eventsourcing"}) == set()


def test_a_process_that_serves_no_http_does_not_load_what_does() -> None:
    """It takes a quarter of the time until it's at work, and memory for as long as it lives."""
    assert loaded_with("adapters.runtime.service") & {"fastapi", "jinja2"} == set()


def loaded_with(module: str) -> set[str]:
    argv = [sys.executable, "-c", f"import sys; import {module}; print(*sys.modules)"]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


# Mistakes in typing: exit code 2.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["order"], "Missing argument 'ORDER_ID'."),
        (["order", "abc"], "Invalid value for 'ORDER_ID': "),
        (["oder", "1"], "No such command 'oder'."),
        (["orders", "--state", "open"], "No such option: --state"),
        (["orders", "--buyer", "\udcff"], "the command line isn't UTF-8"),
    ],
)
def test_a_command_that_cannot_be_understood_is_one_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    """Like every other error."""
    assert refusal(tmp_path, *arguments, exit_code=2).startswith(f"error: {said}")


# Bad settings: exit code 2.


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "demo"])  # which sets all that it needs
def test_every_command_refuses_a_setting_that_cannot_be_used(name: str, tmp_path: Path) -> None:
    """Before it opens anything."""
    arguments = {
        "replay": ("replay", "1", "--mode", "redeliver"),
        "accept-loss": ("accept-loss", "orders"),
        "cancel-replay": ("cancel-replay", "1"),
        "find": ("find", "1"),
        "order": ("order", "1"),
        "retry": ("retry", "1"),
        "skip": ("skip", "1"),
        "settle": ("settle", "1", "--reason", "x"),
        "repair": ("repair", "1", "--reason", "x"),
        "release": ("release", "1", "--reason", "x"),
    }.get(name, (name,))
    code, out, err = run_here(*arguments, folder=tmp_path, settings={"api_port": "many"})
    assert (code, out) == (2, "")
    assert err == (
        'error: CASHBACK_API_PORT is "many": input should be a valid integer,'
        " unable to parse string as an integer\n"
    )


def test_roles_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    """And those that do are named."""
    said = refusal(tmp_path, "serve", "--only", "intake,cashier", exit_code=2)
    assert said == "error: --only is 'intake,cashier': must be some of intake,push,api, comma-separated"
    for roles in ("", "intake,", "INTAKE"):
        with pytest.raises(BadSetting):
            serve(only=roles)


@pytest.mark.parametrize(
    ("properties", "named"),
    [
        ({"no.such.thing": SECRET}, '"no.such.thing"'),
        ({"session.timeout.ms": SECRET}, '"session.timeout.ms"'),
        ({"session.timeout.ms": 0}, '"session.timeout.ms"'),
        ({"partition.assignment.strategy": "none"}, "partition.assignment.strategy"),
        ({"stats_cb": SECRET}, "stats_cb"),
        ({"sasl.password": SECRET, "security.protocol": "none"}, '"security.protocol"'),
    ],
)
def test_kafka_properties_that_librdkafka_does_not_take_are_named(
    properties: dict[str, object], named: str
) -> None:
    """Without what is secret, and before a broker is asked."""
    with pytest.raises(BadSetting) as refused:
        check_consumer_config(f"{LOOPBACK}:1", "group", properties)
    said = str(refused.value)
    assert said.startswith("CASHBACK_KAFKA_CONFIG can't be used: ")
    assert named in said
    assert SECRET not in said


def test_the_service_looks_at_the_kafka_properties_as_it_starts(tmp_path: Path, database_url: str) -> None:
    """Not in a thread later on."""
    settings = {"database_url": database_url, "kafka_bootstrap": f"{LOOPBACK}:1", "kafka_config": '{"no.such": 1}'}
    said = refusal(tmp_path, "serve", "--only", "intake", exit_code=2, **settings)
    assert said == 'error: CASHBACK_KAFKA_CONFIG can\'t be used: No such configuration property: "no.such"'


def test_the_env_file_counts_and_the_environment_wins(tmp_path: Path) -> None:
    """The file of the folder where the command is run."""
    (tmp_path / ".env").write_text("CASHBACK_DATABASE_URL=nonsense\nCASHBACK_LOG_LEVEL=nonsense\n")
    said = refusal(tmp_path, "migrate", exit_code=2)
    assert said.startswith("error: CASHBACK_DATABASE_URL: must start with postgresql://")
    said = refusal(tmp_path, "migrate", exit_code=2, database_url=f"postgresql://u:{SECRET}@{LOOPBACK}:1/d")
    assert said.startswith('error: CASHBACK_LOG_LEVEL is "nonsense"')


# Servers that can't be used: exit code 3.


@pytest.mark.parametrize("arguments", NEED_THE_DATABASE)
def test_a_database_that_cannot_be_reached_is_told(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """With its address, and without the password."""
    url = f"postgresql://u:{SECRET}@{LOOPBACK}:1/d"
    said = refusal(tmp_path, *arguments, exit_code=3, database_url=url)
    assert said.startswith("error: can't reach PostgreSQL: ")
    assert 'server at "127.0.0.1", port 1 failed: Connection refused' in said


def test_a_wrong_password_and_a_missing_database_are_told(tmp_path: Path, database_url: str) -> None:
    """In PostgreSQL's own words."""
    server, _, _ = database_url.rpartition("/")
    user, _, address = server.rpartition("@")
    wrong = f"{user.rpartition(':')[0]}:{SECRET}@{address}/postgres"
    assert "password authentication failed" in refusal(tmp_path, "migrate", exit_code=3, database_url=wrong)
    said = refusal(tmp_path, "migrate", exit_code=3, database_url=f"{server}/nowhere")
    assert 'database "nowhere" does not exist' in said


@pytest.mark.parametrize("arguments", [("serve", "--only", "push"), ("rebuild",)])
def test_a_database_without_a_schema_asks_for_a_migration(
    tmp_path: Path, database_url: str, arguments: tuple[str, ...]
) -> None:
    """With the command to type."""
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP TABLE schema_migration")
    said = refusal(tmp_path, *arguments, exit_code=3, database_url=database_url)
    newest = migrations()[-1].number
    assert said == f"error: the database is at migration 0 of {newest}: run `python app.py migrate` first"


@pytest.mark.parametrize("arguments", [("serve", "--only", "push"), ("migrate",)])
def test_a_database_of_a_newer_version_is_left_alone(
    tmp_path: Path, database_url: str, arguments: tuple[str, ...]
) -> None:
    """By the service and by the migration."""
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO schema_migration VALUES (9999, 'from the future')")
    said = refusal(tmp_path, *arguments, exit_code=3, database_url=database_url)
    assert "the database has migration 9999, and this version knows" in said


def test_a_migration_that_was_edited_since_is_told_in_one_line(tmp_path: Path, database_url: str) -> None:
    """By the command that migrates."""
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE schema_migration SET checksum = 'another' WHERE number = 5")
    said = refusal(tmp_path, "migrate", exit_code=3, database_url=database_url)
    assert said.startswith("error: migration 0005_bulk_replays was changed after it was applied to this database: ")


def test_brokers_that_cannot_be_reached_are_told_in_bounded_time(tmp_path: Path, database_url: str) -> None:
    """Both by the service and by the simulator; the time is that of one request."""
    settings = {"database_url": database_url, "kafka_bootstrap": f"{LOOPBACK}:1"}
    with Apps(tmp_path, settings) as apps:
        both = [apps.start("serve", "--only", "intake"), apps.start("simulate", "--orders", "1")]
        for each in both:
            assert each.wait() == 3
            assert each.output.startswith("error: no Kafka broker answers at 127.0.0.1:1: ")
            assert "Connection refused" in each.output
            assert each.output.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [("serve", "--only", "push"), ("serve", "--only", "api"), ("third-party", "--port", "{port}")]
)
def test_a_port_that_is_taken_is_told(tmp_path: Path, database_url: str, arguments: tuple[str, ...]) -> None:
    """Whichever role wants it. Nothing is unreachable, so the exit code is 1."""
    with closing(socket.create_server((LOOPBACK, 0))) as server:
        port = server.getsockname()[1]
        settings = {"database_url": database_url, "api_port": port, "probes_port": port}
        said = refusal(tmp_path, *(each.format(port=port) for each in arguments), exit_code=1, **settings)
    assert said.startswith(f"error: can't listen on 127.0.0.1:{port}: Address already in use")


# Completion.

WRITES_THE_PROGRAM: Final = re.compile(r"```sh\n(cat > ~/.local/bin/cashback .*?)```", re.DOTALL)
COMPLETES: Final = """
. ~/.bashrc
complete -p cashback
for words in "cashback or" "cashback orders --st" "cashback orders --status P" "cashback replay 1 --mode re"; do
    COMP_WORDS=($words); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _cashback_completion cashback
    echo "${COMPREPLY[@]}"
done
"""


def test_bash_completes_what_the_document_installs(tmp_path: Path) -> None:
    """Typed as it stands there: commands, options and values are completed."""
    document = (REPOSITORY / "docs" / "command-line.md").read_text("utf-8")
    (written,) = WRITES_THE_PROGRAM.findall(document)
    program = written.replace("/srv/cashback/.venv/bin/python", sys.executable).replace(
        "/srv/cashback", str(REPOSITORY)
    )
    places = tmp_path / ".local" / "bin"
    places.mkdir(parents=True)
    environment = {"HOME": str(tmp_path), "PATH": f"{places}:{os.environ['PATH']}", "LANG": "C.UTF-8"}

    def bash(script: str) -> list[str]:
        done = subprocess.run(
            ["bash", "--norc", "-c", f"set -e\n{script}\ntrue"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    assert bash(program)[0].startswith("bash completion installed in ")
    assert bash(COMPLETES) == [
        "complete -o default -F _cashback_completion cashback",
        "orders order",
        "--status",
        "PENDING",
        "redeliver republish",
    ]
    assert "Usage: cashback orders" in "\n".join(bash("cashback orders --help"))
