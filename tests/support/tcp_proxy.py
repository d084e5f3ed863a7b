"""A wire to a server on this machine that can be cut, slowed down, held back, or swallow everything."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

from sandbox.servers.free_port import LOOPBACK
from tests.support.waiting import DEADLINE_SECONDS

CHUNK_BYTES: Final = 65_536
CHUNKS_UNDER_WAY: Final = 256

T = TypeVar("T")


class _Flow:
    """What the connections of one time have in common."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.ends: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        for end in self.ends:
            end.transport.abort()


class TcpProxy:
    """It listens on `port`, with or without the server behind it. For any thread."""

    def __init__(self, server_port: int) -> None:
        self.delay_seconds = 0.0
        """What comes from now on, in either direction, comes so much later."""
        self._server_port = server_port
        self._lost_answer: bytes | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"wire to {server_port}", daemon=True)
        self._thread.start()
        self._do(self._listen())

    def url_of(self, url: str) -> str:
        """The same as a URL of the server, over this wire."""
        parts = urlsplit(url)
        login, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{login}{at}{LOOPBACK}:{self.port}").geturl()

    def cut(self) -> None:
        """All connections, at once; those to come are whole."""
        self._do(self._cut())

    def blackhole(self) -> None:
        """Nothing is passed on any more in either direction, an end neither, on connections to come neither."""
        self._do(self._blackhole())

    def release(self) -> None:
        """After `blackhole`: what was held back comes now, also what nobody waits for any more."""
        self._do(self._release())

    def renew(self) -> None:
        """After `blackhole`: connections to come pass everything on, and those that there are nothing, until this
        is done again."""
        self._do(self._renew())

    def lose_next_answer_with(self, text: bytes) -> None:
        """The connection on which the server says that is cut instead."""
        self._lost_answer = text

    def close(self) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_SECONDS)
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE_SECONDS)

    async def _listen(self) -> None:
        self._flow, self._swallowing = _Flow(), _Flow()
        self._server = await asyncio.start_server(self._accepted, LOOPBACK, 0)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        self._flow.cut()

    async def _blackhole(self) -> None:
        self._flow.is_open.clear()

    async def _release(self) -> None:
        self._flow.is_open.set()

    async def _renew(self) -> None:
        self._swallowing.cut()
        self._swallowing.is_open.set()
        self._swallowing, self._flow = self._flow, _Flow()

    async def _close(self) -> None:
        self._server.close()
        for flow in (self._flow, self._swallowing):
            flow.cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accepted(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with suppress(asyncio.CancelledError):  # by `close`, and asyncio would tell of it
            await self._connect(client, to_client)

    async def _connect(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        flow = self._flow
        flow.ends.add(to_client)
        try:
            await flow.is_open.wait()
            server, to_server = await asyncio.open_connection(LOOPBACK, self._server_port)
        except OSError:
            to_client.transport.abort()
            flow.ends.discard(to_client)
            return
        flow.ends.add(to_server)
        pumps = [
            asyncio.create_task(self._pump(client, to_server, flow)),
            asyncio.create_task(self._pump(server, to_client, flow, is_answer=True)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for end in (to_client, to_server):
                end.close()
                flow.ends.discard(end)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, flow: _Flow, *, is_answer: bool = False
    ) -> None:
        """Ends with either end's."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_UNDER_WAY)
        reading = asyncio.create_task(self._read(source, under_way))
        try:
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(due - self._loop.time())
                await flow.is_open.wait()
                if not data:
                    return
                if is_answer and self._lost_answer is not None and self._lost_answer in data:
                    self._lost_answer = None
                    return
                sink.write(data)
                with suppress(OSError):
                    await sink.drain()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, source: asyncio.StreamReader, under_way: asyncio.Queue[tuple[float, bytes]]) -> None:
        data = b"."
        while data:
            try:
                data = await source.read(CHUNK_BYTES)
            except OSError:
                data = b""
            await under_way.put((self._loop.time() + self.delay_seconds, data))


@contextmanager
def delayed(proxy: TcpProxy, seconds: float) -> Iterator[None]:
    proxy.delay_seconds = seconds
    try:
        yield
    finally:
        proxy.delay_seconds = 0.0
