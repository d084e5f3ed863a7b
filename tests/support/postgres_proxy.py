"""A wire to PostgreSQL that a test can cut without a word: sockets stay open, and nothing comes through."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

from tests.support.waiting import DEADLINE_SECONDS

BIND: Final = b"B"
COMMITTED: Final = b"COMMIT\x00"
HEADER_BYTES: Final = 5
LENGTH_BYTES: Final = 4
_PLAIN: Final = "sslmode=disable&gssencmode=disable"

_Pump = Callable[[socket.socket, socket.socket], None]


class PostgresProxy:
    """What a client sends is passed on message by message; a large one may be passed on in part."""

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        self._server = (parts.hostname or "", parts.port or 5432)
        self._listening = socket.create_server(("127.0.0.1", 0))
        port = self._listening.getsockname()[1]
        login, _, _ = parts.netloc.rpartition("@")
        self.url = parts._replace(netloc=f"{login}@127.0.0.1:{port}", query=_PLAIN).geturl()
        self.is_held = threading.Event()
        """A message was passed on in part, and its connection passes nothing on until `release`."""
        self._released = threading.Event()
        self._flows = threading.Event()
        self._flows.set()
        self._hold: tuple[int, float] | None = None
        self._loses_commit = False
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def hold_next(self, *, min_bytes: int, share: float = 0.5) -> None:
        """Of the next statement whose parameters are as large as that only a share is passed on."""
        self._hold = (min_bytes, share)

    def lose_next_commit(self) -> None:
        """The next COMMIT is carried out, and its connection is cut before the answer."""
        self._loses_commit = True

    def wait_until_held(self) -> None:
        assert self.is_held.wait(DEADLINE_SECONDS), "no message was as large as that"

    def blackhole(self) -> None:
        """Nothing is passed on any more in either direction, on connections to come neither."""
        self._flows.clear()

    def release(self) -> None:
        """All goes on where it stopped."""
        self._flows.set()
        self._released.set()

    def close(self) -> None:
        """Cuts everything; what was held back is never passed on."""
        for each in (self._listening, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self.release()
        for thread in self._threads:
            thread.join(DEADLINE_SECONDS)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._server)
                self._sockets += (client, server)
                pumps = ((self._ask, client, server), (self._answer, server, client))
                for pump, source, sink in pumps:
                    ends = (pump, source, sink)
                    thread = threading.Thread(target=_until_cut, args=ends, daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        length = _exactly(client, LENGTH_BYTES)
        self._pass_on(server, length + _exactly(client, int.from_bytes(length) - LENGTH_BYTES))
        while True:
            header = _exactly(client, HEADER_BYTES)
            message = header + _exactly(client, int.from_bytes(header[1:]) - LENGTH_BYTES)
            if self._hold and header[:1] == BIND and len(message) >= self._hold[0]:
                first = max(1, round(len(message) * self._hold[1]))
                self._hold = None
                self._pass_on(server, message[:first])
                self.is_held.set()
                self._released.wait()
                message = message[first:]
            self._pass_on(server, message)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        while found := server.recv(65_536):
            if self._loses_commit and COMMITTED in found:
                self._loses_commit = False
                return
            self._pass_on(client, found)

    def _pass_on(self, sink: socket.socket, data: bytes) -> None:
        self._flows.wait()
        sink.sendall(data)


def _until_cut(pump: _Pump, source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError, EOFError):
        pump(source, sink)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _exactly(source: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        found = source.recv(count - len(parts))
        if not found:
            raise EOFError
        parts += found
    return bytes(parts)


@contextmanager
def postgres_proxy(database_url: str) -> Iterator[PostgresProxy]:
    proxy = PostgresProxy(database_url)
    try:
        yield proxy
    finally:
        proxy.close()
