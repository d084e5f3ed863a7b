"""What every connection to PostgreSQL has, and that none is made without it."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from adapters.postgres.connections import conninfo

REPOSITORY = Path(__file__).parents[3]
MAINTENANCE = REPOSITORY / "sandbox" / "servers" / "postgres.py"
"""Makes and drops databases on a server of this machine."""


def told(url: str, **session: Any) -> dict[str, str]:
    found = conninfo_to_dict(conninfo(url, application_name="cashback-test", **session))
    return {name: str(value) for name, value in found.items()}


def test_a_peer_that_is_gone_is_noticed_on_either_side() -> None:
    """By us, and by the server, which frees what the connection held."""
    found = told("postgresql://us@db/orders")
    ours = {"keepalives": "1", "keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3"}
    assert found.items() >= (ours | {"tcp_user_timeout": "25000", "connect_timeout": "10"}).items()
    for option in ("tcp_keepalives_idle=10s", "tcp_user_timeout=25s", "client_connection_check_interval=5s"):
        assert f"-c {option}" in found["options"]


def test_a_session_has_settings_of_its_own() -> None:
    """Beside those that all have."""
    assert told("postgresql://us@db/orders", lock_timeout="30s")["options"].endswith(" -c lock_timeout=30s")


def test_what_the_database_url_says_wins() -> None:
    """Of two values in the options the server takes the last."""
    given = "keepalives_idle=60&tcp_user_timeout=5000&connect_timeout=3&application_name=theirs"
    options = "&options=-c%20statement_timeout%3D7s"
    found = told(f"postgresql://us@db/orders?{given}{options}", statement_timeout="60s")
    assert (
        found.items()
        >= {
            "keepalives_idle": "60",
            "tcp_user_timeout": "5000",
            "connect_timeout": "3",
            "application_name": "theirs",
            "keepalives_interval": "5",
        }.items()
    )
    assert found["options"].endswith("-c statement_timeout=60s -c statement_timeout=7s")


def test_where_to_connect_is_left_as_it_is() -> None:
    """Several hosts, TLS, and special characters too."""
    found = told("postgresql://us:p%40ss%20w@one:5432,two:5433/orders?sslmode=verify-full")
    wanted = {"host": "one,two", "port": "5432,5433", "user": "us", "password": "p@ss w", "dbname": "orders"}
    assert found.items() >= (wanted | {"sslmode": "verify-full"}).items()


@pytest.mark.parametrize("package", ["adapters", "sandbox"])
def test_every_connection_of_ours_is_made_from_it(package: str) -> None:
    """Whoever connects says `conninfo(…)`, or a name that was given its value."""
    found = [(path, call) for path in (REPOSITORY / package).rglob("*.py") for call in _connecting(path)]
    assert found, "nothing connects: this test looks for the wrong thing"
    bare = [f"{path}:{call.lineno}" for path, call in found if path != MAINTENANCE and not _is_told(path, call)]
    assert bare == []


def _connecting(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("psycopg.connect", "Connection.connect", "ConnectionPool")
        ):
            yield node


def _is_told(path: Path, call: ast.Call) -> bool:
    first = ast.unparse(call.args[0]) if call.args else ""
    return first.startswith("conninfo(") or f"{first} = conninfo(" in path.read_text("utf-8")
