"""An HTTP server without manners: each test says, byte by byte, what it answers."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    line: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


class Connection:
    """One connection of a caller's; `number` counts from 1."""

    def __init__(self, server: "RawServer", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        server.connections += 1
        self.number = server.connections

    async def request(self) -> Request:
        """Waits for the next whole request. Raises IncompleteReadError when the caller has left."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        line, *rest = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
        body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        request = Request(line, headers, body)
        self._server.requests.append(request)
        return request

    async def say(self, text: str | bytes) -> None:
        self._writer.write(text.encode() if isinstance(text, str) else text)
        await self._writer.drain()

    async def answer(self, status: int = 200, *headers: str, body: bytes = b"{}") -> None:
        lines = "".join(f"{header}\r\n" for header in headers)
        head = f"HTTP/1.1 {status} Said\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
        await self.say(head.encode() + body)

    async def until_left(self) -> None:
        """Until the caller hangs up."""
        while await self._reader.read(65_536):
            pass


Handler = Callable[[Connection], Awaitable[None]]


class RawServer:
    """What it has seen."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self.requests: list[Request] = []
        self.connections = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._handle(Connection(self, reader, writer))
        writer.transport.abort()


@contextlib.asynccontextmanager
async def raw_server(handle: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """Runs until the context ends; a connection is cut when `handle` returns."""
    server = RawServer(handle)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.url = f"http{'s' if tls else ''}://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()


async def agree(connection: Connection) -> None:
    """Says yes to every request, on a connection that is kept."""
    while True:
        await connection.request()
        await connection.answer()
