"""HTTP/1.1 with one host, for a caller to whom the status is everything (contract.md, section 2).

Kept clients tell the status once the whole head is one that they accept: a reason phrase in Latin-1, a header of
nine kilobytes or a wrong length, and it is lost. Here everything is noted as it comes, and what comes after the
status can only end the connection. A connection is used again only if all of the answer was ordinary.
"""

import asyncio
import re
import ssl
from dataclasses import dataclass, field
from typing import Final

MAX_BODY_BYTES: Final = 64 * 1024
"""What is read of an answer's body; the rest is not waited for."""
MAX_LINES_BYTES: Final = 256 * 1024
"""Of an answer's lines: those of its head, and those between the chunks of its body."""
KEEP_ALIVE_SECONDS: Final = 4.0
"""Less than servers commonly allow (uvicorn: 5), so that it's us who close an idle connection."""
NEXT_ADDRESS_SECONDS: Final = 0.25
"""How long the first address of a host's has before the next one is tried beside it (RFC 8305, section 8)."""

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.(\d) ([1-9]\d\d)(?: .*)?", re.DOTALL)
_LENGTH: Final = re.compile(rb"\d{1,15}")
_CHUNK_LENGTH: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", re.DOTALL)
_SWITCHING_PROTOCOLS: Final = 101
_FIRST_FINAL: Final = 200
_WITHOUT_BODY: Final = {_SWITCHING_PROTOCOLS, 204, 304}


@dataclass(slots=True)
class Exchange:
    """What is known of a request and its answer by now."""

    is_sent: bool = False
    """Some of the request may have left."""
    status: int | None = None
    retry_after: str | None = None
    body: bytearray = field(default_factory=bytearray)
    """At most MAX_BODY_BYTES."""
    is_whole: bool = False
    """The body has come to its end."""


class HttpConnections:
    """Connections to one host, at most `limit` at once. For one event loop; with `tls` none is in the clear."""

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None, limit: int) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._slots = asyncio.Semaphore(limit)
        self._idle: list[_Connection] = []

    async def send(self, request: bytes, exchange: Exchange) -> None:
        """Sends the request once, and notes in `exchange` what comes of it, also if it is cancelled.

        Returns when the answer is whole, or can't be read any further. Raises OSError, or UnicodeError for a host
        name that can't be one, if nothing could be sent.
        """
        async with self._slots:
            connection = self._kept() or await self._connect()
            exchange.is_sent = True
            is_reusable = False
            try:
                is_reusable = await connection.send(request, exchange)
            finally:
                if is_reusable:
                    connection.keep()
                    self._idle.append(connection)
                else:
                    connection.abort()
                    await asyncio.sleep(0)  # closed by then: whoever sends again comes after that

    def close(self) -> None:
        """Those that are idle; the others end with their exchanges."""
        while self._idle:
            self._idle.pop().abort()

    def _kept(self) -> "_Connection | None":
        while self._idle:
            connection = self._idle.pop()
            if connection.take():
                return connection
        return None

    async def _connect(self) -> "_Connection":
        _, connection = await asyncio.get_running_loop().create_connection(
            _Connection,
            self._host,
            self._port,
            ssl=self._tls,
            server_hostname=self._host if self._tls else None,
            happy_eyeballs_delay=NEXT_ADDRESS_SECONDS,
        )
        return connection


class _UnreadableError(Exception):
    """What came ends too early, is too long, or isn't HTTP."""


class _Connection(asyncio.Protocol):
    """One exchange at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._received = bytearray()
        self._lines_bytes = 0
        self._has_ended = False
        """Nothing more will come."""
        self._is_idle = False
        self._news: asyncio.Future[None] | None = None
        self._expiry: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._is_idle:  # nobody asked
            self.abort()
        self._received += data
        self._notify()

    def eof_received(self) -> None:
        self._has_ended = True
        self._notify()

    def connection_lost(self, _: Exception | None) -> None:
        self._has_ended = True
        self._notify()

    def keep(self) -> None:
        """For a while."""
        self._is_idle = True
        self._expiry = asyncio.get_running_loop().call_later(KEEP_ALIVE_SECONDS, self.abort)

    def take(self) -> bool:
        """Whether it may be used again."""
        if self._expiry is not None:
            self._expiry.cancel()
        self._is_idle = False
        return not (self._has_ended or self._received or self._transport.is_closing())

    def abort(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        self._transport.abort()

    async def send(self, request: bytes, exchange: Exchange) -> bool:
        """Whether the connection can be used again."""
        self._lines_bytes = 0
        self._transport.write(request)
        try:
            is_kept = await self._read_answer(exchange)
        except _UnreadableError:
            return False
        return is_kept and exchange.is_whole and not self._received and not self._has_ended

    async def _read_answer(self, exchange: Exchange) -> bool:
        """Whether the other side keeps the connection."""
        while True:
            found = _STATUS_LINE.fullmatch(await self._line())
            if found is None:
                raise _UnreadableError
            minor, status = found[1], int(found[2])
            is_final = status >= _FIRST_FINAL or status == _SWITCHING_PROTOCOLS
            if is_final:
                exchange.status = status
            fields, is_plain = await self._fields(exchange if is_final else Exchange())
            if is_final:
                break
        length, coding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
        is_kept = is_plain and minor != b"0" and fields.get(b"connection", b"").lower() in {b"", b"keep-alive"}
        if status in _WITHOUT_BODY:  # if one comes all the same, it must not be taken for the next answer
            exchange.is_whole = True
            return is_kept and coding is None and length in {None, b"0"} and status != _SWITCHING_PROTOCOLS
        if coding is not None and coding.lower() == b"chunked":
            await self._read_chunks(exchange)
            return is_kept and length is None
        if coding is not None or length is None:
            await self._read_to_the_end(exchange)
            return False
        if not _LENGTH.fullmatch(length):
            raise _UnreadableError
        await self._read(int(length), exchange)
        exchange.is_whole = True
        return is_kept

    async def _fields(self, exchange: Exchange) -> tuple[dict[bytes, bytes], bool]:
        """The header fields up to the empty line, and whether they are all as they should be.

        Of a name that comes more than once, the values separated by commas (RFC 9110, section 5.3).
        """
        fields: dict[bytes, bytes] = {}
        is_plain = True
        while line := await self._line():
            name, colon, value = line.partition(b":")
            is_plain = is_plain and bool(colon) and name == name.strip()
            name, value = name.strip().lower(), value.strip()
            if name == b"retry-after":
                exchange.retry_after = value.decode("latin-1")
            fields[name] = b"%b,%b" % (fields[name], value) if name in fields else value
        return fields, is_plain

    async def _read_chunks(self, exchange: Exchange) -> None:
        while True:
            found = _CHUNK_LENGTH.fullmatch(await self._line())
            if found is None:
                raise _UnreadableError
            length = int(found[1], 16)
            if not length:
                break
            await self._read(length, exchange)
            if await self._line():
                raise _UnreadableError
        while await self._line():
            pass
        exchange.is_whole = True

    async def _read_to_the_end(self, exchange: Exchange) -> None:
        while not self._has_ended or self._received:
            if not self._received:
                try:
                    await self._more()
                except _UnreadableError:
                    break
            await self._read(len(self._received), exchange)
        exchange.is_whole = True

    async def _read(self, length: int, exchange: Exchange) -> None:
        while length:
            if not self._received:
                await self._more()
            piece = self._received[:length]
            del self._received[:length]
            length -= len(piece)
            exchange.body += piece[: MAX_BODY_BYTES - len(exchange.body)]
            if length and len(exchange.body) >= MAX_BODY_BYTES:
                raise _UnreadableError

    async def _line(self) -> bytes:
        """Without its end."""
        searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            if self._lines_bytes + searched > MAX_LINES_BYTES:
                raise _UnreadableError
            await self._more()
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        self._lines_bytes += end + 1
        if self._lines_bytes > MAX_LINES_BYTES:
            raise _UnreadableError
        return line.removesuffix(b"\r")

    async def _more(self) -> None:
        if self._has_ended:
            raise _UnreadableError
        self._news = asyncio.get_running_loop().create_future()
        try:
            await self._news
        finally:
            self._news = None

    def _notify(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
