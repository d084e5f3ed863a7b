"""Callers that are slow, silent, or too many."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any, Final

import pytest

from adapters.runtime.http_server import http_server
from adapters.web import connection as limits
from tests.support.running_api import serving
from tests.support.waiting import DEADLINE_SECONDS, wait_until

pytestmark = pytest.mark.slow

LIMIT: Final = 4
HEAD: Final = b"GET / HTTP/1.1\r\nHost: x\r\n"
WITH_BODY: Final = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"


async def read_whole(scope: Any, receive: Any, send: Any) -> None:
    """Answers when the body has come whole, and never to one that hasn't."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        if not message.get("more_body", False):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def dribble(connected: socket.socket) -> float:
    """A byte now and then, until the other side has closed; gives how long that took, DEADLINE_SECONDS at most."""
    began = time.monotonic()
    with suppress(OSError):
        while time.monotonic() < began + DEADLINE_SECONDS:
            connected.sendall(b"x")
            time.sleep(0.05)
    return time.monotonic() - began


async def make_reader(_: Any) -> Any:
    return read_whole


@contextmanager
def server(make: Callable[[Any], Any] = make_reader) -> Iterator[tuple[str, int]]:
    """With LIMIT connections."""
    with serving(make, server=lambda app: http_server(app, max_connections=LIMIT, shutdown_seconds=1)) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        yield host, int(port)


def connect(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=DEADLINE_SECONDS)


def everything_from(connected: socket.socket) -> bytes:
    """Until the other side closes."""
    received = b""
    try:
        while piece := connected.recv(4096):
            received += piece
    except ConnectionResetError:
        pass
    return received


def ask(connected: socket.socket) -> bytes:
    """A request and the start of its answer, on a connection that stays open; nothing if it is closed."""
    try:
        connected.sendall(HEAD + b"\r\n")
        return connected.recv(15)
    except (ConnectionResetError, BrokenPipeError):
        return b""


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (HEAD, b"HTTP/1.1 408 Request Timeout"),
        (HEAD + b"\r\n" + HEAD, b"HTTP/1.1 200 "),
        (WITH_BODY + b"12345", b""),
    ],
    ids=["nothing", "half a head", "half of a second head", "half a body"],
)
def test_what_does_not_come_whole_in_time_is_given_up(
    monkeypatch: pytest.MonkeyPatch, sent: bytes, answer: bytes
) -> None:
    """The server closes; who was told nothing yet hears why, where there is anything to answer."""
    monkeypatch.setattr(limits, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.3)
    with server() as address, closing(connect(address)) as connected:
        connected.sendall(sent)
        assert everything_from(connected).startswith(answer)


def test_a_byte_now_and_then_gains_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is that of the whole head."""
    monkeypatch.setattr(limits, "HEAD_SECONDS", 0.5)
    with server() as address, closing(connect(address)) as connected:
        connected.sendall(HEAD + b"X: ")
        assert dribble(connected) < DEADLINE_SECONDS


def test_a_connection_may_be_older_than_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request has its own time."""
    monkeypatch.setattr(limits, "HEAD_SECONDS", 3.0)
    with server() as address, closing(connect(address)) as connected:
        for _ in range(5):
            assert ask(connected) == b"HTTP/1.1 200 OK"
            while not connected.recv(4096).endswith(b"ok"):
                pass
            time.sleep(0.9)


def test_one_too_many_is_answered_and_the_oldest_idle_one_goes() -> None:
    """However many say nothing: whoever asks a whole question is answered."""
    with server() as address, ExitStack() as stack:
        silent = [stack.enter_context(closing(connect(address))) for _ in range(10 * LIMIT)]
        assert ask(stack.enter_context(closing(connect(address)))) == b"HTTP/1.1 200 OK"
        assert everything_from(silent[0]) == b""
        assert ask(silent[-1]) == b"HTTP/1.1 200 OK"


def test_a_request_under_way_does_not_go() -> None:
    """Where all are at work on requests, it is the newcomer who goes."""

    waiting: list[str] = []
    go_on = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def at_work(scope: Any, receive: Any, send: Any) -> None:
        waiting.append(scope["path"])
        await go_on.wait()
        await read_whole(scope, receive, send)

    async def make(_: Any) -> Any:
        loops.append(asyncio.get_running_loop())
        return at_work

    with server(make) as address, ExitStack() as stack:
        busy = [stack.enter_context(closing(connect(address))) for _ in range(LIMIT)]
        for each in busy:
            each.sendall(HEAD + b"\r\n")
        wait_until(lambda: len(waiting) == LIMIT, "all are at work")
        assert ask(stack.enter_context(closing(connect(address)))) == b""
        loops[0].call_soon_threadsafe(go_on.set)
        assert [each.recv(15) for each in busy] == [b"HTTP/1.1 200 OK"] * LIMIT
