"""What answers over HTTP: uvicorn on one port, with our limits."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn

from adapters.runtime.descriptors import ACCEPTED_AT_ONCE
from domain.errors import CashbackError

BACKLOG: Final = 512
"""Connections that wait to be accepted."""
UNREAD_MILLISECONDS: Final = 30_000


class PortTaken(CashbackError):
    """The API's port can't be listened on."""


def listen(host: str, port: int) -> socket.socket:
    """Raises PortTaken."""
    try:
        listener = socket.create_server((host, port), reuse_port=False, backlog=BACKLOG)
    except OSError as error:
        raise PortTaken(f"can't listen on {host}:{port}: {error.strerror or error}") from error
    # Connections inherit both. asyncio sets the first only for sockets made with the protocol's number; without it
    # each answer on a kept connection waits 40 ms for the caller to acknowledge its headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Whoever doesn't read what we answer, or is gone without a word, is given up.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MILLISECONDS)
    return listener


def http_server(
    app: Any, *, max_connections: int, shutdown_seconds: int, trusted_proxies: str | None = None
) -> uvicorn.Server:
    """For a socket that `listen` gave. `shutdown_seconds`: what requests under way get when it ends.
    `trusted_proxies`: networks, comma-separated; who comes from elsewhere is who connects, whatever headers say."""
    from adapters.web.connection import (  # noqa: PLC0415 - only who serves loads what serves
        MAX_HEAD_BYTES,
        ConnectionLimit,
        connections_within,
    )

    config = uvicorn.Config(
        app,
        http=connections_within(ConnectionLimit(max_connections)),
        ws="none",
        # Both given: uvicorn's own are to believe this machine, or whom its environment names.
        proxy_headers=trusted_proxies is not None,
        forwarded_allow_ips=trusted_proxies or "",
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        backlog=ACCEPTED_AT_ONCE,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=shutdown_seconds,
    )
    return _QuietServer(config)


class _QuietServer(uvicorn.Server):
    """Leaves the signals to the service, and the queue of the port as long as it was: asyncio takes one number for
    the queue and for what it accepts in one step."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for each in sockets or []:
            each.listen(BACKLOG)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
