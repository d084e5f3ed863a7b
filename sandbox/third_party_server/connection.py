"""The connection under a request: cutting it, seeing that the caller has hung up, and answering in one piece."""

from asyncio import AbstractEventLoop, Transport
from typing import Any

from starlette.types import Receive, Scope
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

_STATE = "third_party_connection"


class KnownConnection(H11Protocol):
    """Shows itself in the `state` of each request's scope: ASGI has no other way to cut a connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, _STATE: self}, _loop)

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(_OnePieceTransport(transport, self.loop))


class _OnePieceTransport(Transport):
    """Sends what is written within one step of the event loop at once.

    uvicorn writes head and body one by one, and on a busy machine each piece wakes the caller: as one piece,
    the answers of this server were measured to come six times as fast.
    """

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._pieces: list[bytes | bytearray | memoryview] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)

    def _flush(self) -> None:
        if self._pieces:
            self._transport.write(b"".join(self._pieces))
            self._pieces.clear()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._pieces.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)


def _transport(scope: Scope) -> Transport | None:
    connection = scope.get("state", {}).get(_STATE)
    return connection.transport if isinstance(connection, KnownConnection) else None


async def cut(scope: Scope, receive: Receive) -> None:
    """Closes the connection; the caller gets no answer. The closing is under way before the first await.

    Raises ConnectionAbortedError where the application runs without a server of ours.
    """
    transport = _transport(scope)
    if transport is None:
        raise ConnectionAbortedError("the connection is cut")
    transport.abort()
    while (await receive())[
        "type"
    ] != "http.disconnect":  # else the server takes us for an application without answer
        pass


def hang_up(scope: Scope) -> None:
    """Closes the connection; whoever waits in `receive` hears of it as of a caller that left."""
    transport = _transport(scope)
    if transport is not None:
        transport.abort()


def has_hung_up(scope: Scope) -> bool:
    """Whether the caller has closed the connection, even if the one who waits in `receive` hasn't heard of it yet.

    What the caller sends elsewhere after closing is never read before this is true: the event loop takes note of
    all sockets that are ready before it starts on any new request.
    """
    transport = _transport(scope)
    return transport is not None and transport.is_closing()
