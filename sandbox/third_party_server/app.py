"""The sandbox third party: an HTTP server that stands for the company that pays (contract.md, sections 2 and 4).

The rules of its books are told in `books`, the order in which faults take their turn in `third_party_calls`.
"""

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from domain.exact_json import dumps
from sandbox.third_party_server.books import Books, Reply, refusal
from sandbox.third_party_server.calls import MAX_BODY_BYTES, CallEndpoint
from sandbox.third_party_server.connection import KnownConnection
from sandbox.third_party_server.faults import FaultSwitch, InvalidFaults
from sandbox.third_party_server.requests import InvalidRequest, Operation, parse_order_id
from sandbox.third_party_server.views import MAX_PAGE_ROWS, calls_page, orders_page, totals, violations_list

KEEP_ALIVE_SECONDS = 75
SHUTDOWN_SECONDS = 1
BACKLOG_CONNECTIONS = 2048
MAX_NUMBER_DIGITS = 19


def create_app(books: Books, *, token: str | None = None) -> Starlette:
    """The third party as an ASGI application; with a `token`, calls need it as their bearer token."""
    switch = FaultSwitch()
    call = partial(CallEndpoint, books, switch, token)
    order = "/v1/cashbacks/{order_id}"
    view = _Views(books, switch)
    return Starlette(
        routes=[
            Route("/v1/cashbacks", call(Operation.CREATE), methods=["POST"]),
            Route(order, call(Operation.UPDATE), methods=["PUT"]),
            Route(order, call(None), methods=["GET"]),
            Route(order + "/cancel", call(Operation.CANCEL), methods=["POST"]),
            Route(order + "/complete", call(Operation.COMPLETE), methods=["POST"]),
            Route(order + "/correct", call(Operation.CORRECT), methods=["POST"]),
            Route("/_sandbox/orders", view.orders, methods=["GET"]),
            Route("/_sandbox/calls", view.calls, methods=["GET"]),
            Route("/_sandbox/violations", view.violations, methods=["GET"]),
            Route("/_sandbox/totals", view.totals, methods=["GET"]),
            Route("/_sandbox/faults", view.faults, methods=["GET"]),
            Route("/_sandbox/faults", view.set_faults, methods=["PUT"]),
            Route("/_sandbox", view.reset, methods=["DELETE"]),
        ],
        exception_handlers={HTTPException: _http_problem, InvalidRequest: _bad_query, InvalidFaults: _bad_faults},
    )


async def serve(  # noqa: PLR0913  # all but the address are options
    host: str,
    port: int,
    *,
    ready: Callable[[int], None] | None = None,
    books: Books | None = None,
    token: str | None = None,
    handle_signals: bool = True,
) -> None:
    """Serves until SIGTERM, SIGINT or cancellation; port 0 takes a free one, and `ready` is told which.

    Calls that hang or are delayed at that moment are cut, not applied. Raises OSError when the address can't be
    had. Signals are only handled in the main thread; without `handle_signals` they stay the caller's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG_CONNECTIONS)
    config = uvicorn.Config(
        create_app(books if books is not None else Books(), token=token),
        http=KnownConnection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    server = _Server(config, handle_signals=handle_signals, ready=ready)
    running = asyncio.create_task(server.serve([listener]))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        server.should_exit = True
        await running
        raise


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, *, handle_signals: bool, ready: Callable[[int], None] | None
    ) -> None:
        super().__init__(config)
        self._handle_signals = handle_signals
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._ready is not None and sockets:
            self._ready(sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """uvicorn's own would raise the signal again at the end, and the process wouldn't leave with 0."""
        if not self._handle_signals or threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


class _Views:
    def __init__(self, books: Books, switch: FaultSwitch) -> None:
        self._books = books
        self._switch = switch

    async def orders(self, request: Request) -> Response:
        return _json(orders_page(self._books, _number(request, "after", 0), _limit(request)))

    async def calls(self, request: Request) -> Response:
        text = request.query_params.get("orderId")
        order_id = parse_order_id(text) if text is not None else None
        return _json(calls_page(self._books, order_id, _number(request, "after", 0), _limit(request)))

    async def violations(self, _: Request) -> Response:
        return _json(violations_list(self._books))

    async def totals(self, _: Request) -> Response:
        return _json(totals(self._books))

    async def faults(self, _: Request) -> Response:
        return _json(self._switch.faults)

    async def set_faults(self, request: Request) -> Response:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY_BYTES:
                raise HTTPException(413, f"the body has more than {MAX_BODY_BYTES} bytes")
        self._switch.update(bytes(body))
        return _json(self._switch.faults)

    async def reset(self, _: Request) -> Response:
        self._books.reset()
        self._switch.reset()
        return Response(status_code=204)


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_NUMBER_DIGITS):
        raise InvalidRequest(f"{name} isn't a number from 0 up")
    return int(text)


def _limit(request: Request) -> int:
    limit = _number(request, "limit", MAX_PAGE_ROWS)
    if not 1 <= limit <= MAX_PAGE_ROWS:
        raise InvalidRequest(f"limit isn't from 1 to {MAX_PAGE_ROWS}")
    return limit


def _json(value: object) -> Response:
    return Response(dumps(value), media_type="application/json")


def _problem(answer: Reply) -> Response:
    return Response(answer.body, answer.status, media_type="application/problem+json")


async def _http_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _problem(refusal(error.status_code, "http_error", error.detail))


async def _bad_query(_: Request, error: Exception) -> Response:
    return _problem(refusal(400, "invalid_request", str(error)))


async def _bad_faults(_: Request, error: Exception) -> Response:
    return _problem(refusal(400, "invalid_faults", str(error)))
