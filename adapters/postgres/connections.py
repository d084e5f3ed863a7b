"""What every connection of ours has, in one place. A value in the database URL wins over the one from here.

A peer that is gone without a word (power, network) is noticed on either side within about DEAD_PEER_SECONDS, where
TCP alone takes two hours when it has nothing to send, and a quarter of an hour when it has.

A commit is answered only when it is on the disk, whatever the server, the database or the role has as its default:
what was answered must not be gone after a crash.
"""

from typing import Any, Final

from psycopg.conninfo import conninfo_to_dict, make_conninfo

CONNECT_TIMEOUT_SECONDS: Final = 10
KEEPALIVE_IDLE_SECONDS: Final = 10
KEEPALIVE_INTERVAL_SECONDS: Final = 5
KEEPALIVE_COUNT: Final = 3
DEAD_PEER_SECONDS: Final = KEEPALIVE_IDLE_SECONDS + KEEPALIVE_COUNT * KEEPALIVE_INTERVAL_SECONDS
CLIENT_CHECK_SECONDS: Final = 5
"""How often a statement that works or waits for a lock looks whether its client is still there."""

_OUR_SIDE: Final[dict[str, str | int]] = {
    "connect_timeout": CONNECT_TIMEOUT_SECONDS,
    "keepalives": 1,
    "keepalives_idle": KEEPALIVE_IDLE_SECONDS,
    "keepalives_interval": KEEPALIVE_INTERVAL_SECONDS,
    "keepalives_count": KEEPALIVE_COUNT,
    "tcp_user_timeout": DEAD_PEER_SECONDS * 1000,
}
_THEIR_SIDE: Final = {
    "tcp_keepalives_idle": f"{KEEPALIVE_IDLE_SECONDS}s",
    "tcp_keepalives_interval": f"{KEEPALIVE_INTERVAL_SECONDS}s",
    "tcp_keepalives_count": str(KEEPALIVE_COUNT),
    "tcp_user_timeout": f"{DEAD_PEER_SECONDS}s",
    "client_connection_check_interval": f"{CLIENT_CHECK_SECONDS}s",
    "synchronous_commit": "on",
}


def conninfo(
    database_url: str,
    *,
    application_name: str,
    connect_timeout_seconds: int = CONNECT_TIMEOUT_SECONDS,
    **session: str,
) -> str:
    """A connection string for libpq: what the URL says over what we would have.

    `session` are settings of the server's for this session, with their units. Raises psycopg.ProgrammingError if
    the URL can't be read.
    """
    given = conninfo_to_dict(database_url)
    ours = _OUR_SIDE | {"application_name": application_name, "connect_timeout": connect_timeout_seconds}
    options = [f"-c {name}={value}" for name, value in (_THEIR_SIDE | session).items()]
    if "options" in given:
        options.append(str(given["options"]))  # of two values for one setting the server takes the last
    merged: dict[str, Any] = {**ours, **given, "options": " ".join(options)}
    return make_conninfo("", **merged)
