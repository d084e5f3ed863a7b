"""A call of the third party's API from its headers to its answer, with the faults that are in force.

A late call comes after its time in a queue, with nobody behind it who could hang up. Then what comes first decides:
`down` (503), a wrong token (401), a missing key (400), a key in flight (409), a hang,
the latency, an injected error, the body's shape (400, 413), the books' rules, a lost answer.
"""

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from hmac import compare_digest

from starlette.types import Message, Receive, Scope, Send

from sandbox.third_party_server.books import Books, Reply, refusal
from sandbox.third_party_server.call_log import ReceivedCall
from sandbox.third_party_server.connection import cut, hang_up, has_hung_up
from sandbox.third_party_server.faults import Faults, FaultSwitch
from sandbox.third_party_server.requests import CashbackRequest, InvalidRequest, Operation, parse, parse_order_id

MAX_BODY_BYTES = 1024**2
MAX_KEY_CHARACTERS = 255
MAX_LOGGED_CHARACTERS = 500  # of a path and of a header; longer ones can't be valid
BODY_TIMEOUT_SECONDS = 30.0
HANG_LIMIT_SECONDS = 300.0
NANOSECONDS_PER_SECOND = 1_000_000_000

_LOGGED_HEADERS = (b"content-type", b"traceparent", b"user-agent")


class _NoCallError(Exception):
    """The caller left, or fell silent, before the body was there."""


class _TooLargeError(InvalidRequest):
    """The body is over MAX_BODY_BYTES."""


@dataclass(frozen=True, slots=True)
class CallEndpoint:
    """One call of the API as an ASGI application; without an `operation` it's the lookup."""

    books: Books
    switch: FaultSwitch
    token: str | None
    operation: Operation | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tick, came_from = self.books.arrive(), receive
        try:
            body = await _read_body(receive)
        except BaseException as error:
            self.books.vanish(tick)
            if not isinstance(error, _NoCallError):
                raise
            await cut(scope, receive)
            return
        late_seconds = self.switch.late_seconds() if self.operation is not None else 0.0
        if late_seconds:
            self.books.vanish(tick)
            log = self.books.log
            await asyncio.sleep(late_seconds)
            if self.books.log is not log:  # they were started afresh
                await cut(scope, receive)
                return
            tick = self.books.arrive()
            receive = _never
        headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))
        order_id, request = self._read(scope, body)
        call = self._write_down(scope, headers, body, order_id, request, tick)
        if late_seconds:
            call.client_gone = _is_never_gone
        answer: Reply | None = None
        try:
            answer = await self._answer(call, request, headers, receive)
            if answer is not None:
                await _send(send, answer)
        finally:
            # In one step with the last byte sent, or with the cut below: the caller's next call comes after it.
            if answer is not None:
                self.books.leave(call, "answered", answer.status)
            else:
                self.books.leave(call, "client_gone" if call.client_gone() else "cut")
        if answer is None:
            await cut(scope, came_from)

    def _read(self, scope: Scope, body: bytes | None) -> tuple[int | None, CashbackRequest | InvalidRequest | None]:
        """The order that the call names, as far as that can be told, and what it says; a lookup says nothing."""
        path_order_id = None
        try:
            if "order_id" in scope["path_params"]:
                path_order_id = parse_order_id(scope["path_params"]["order_id"])
            if self.operation is None:
                return path_order_id, None
            if body is None:
                raise _TooLargeError(f"the body has more than {MAX_BODY_BYTES} bytes")
            request = parse(self.operation, path_order_id, body)
        except InvalidRequest as error:
            return path_order_id, error
        return request.order_id, request

    def _write_down(  # noqa: PLR0913, PLR0917  # all that is known of a call by now
        self,
        scope: Scope,
        headers: dict[bytes, bytes],
        body: bytes | None,
        order_id: int | None,
        request: CashbackRequest | InvalidRequest | None,
        tick: int,
    ) -> ReceivedCall:
        call = ReceivedCall(
            method=scope["method"],
            path=scope["path"][:MAX_LOGGED_CHARACTERS],
            key=_shown(headers.get(b"idempotency-key", b"")) or None,
            order_id=order_id,
            body=body or b"",
            headers=tuple((n.decode(), _shown(headers[n])) for n in _LOGGED_HEADERS if n in headers),
            transaction_date=request.transaction_date if isinstance(request, CashbackRequest) else None,
            mutating=self.operation is not None,
            arrived_tick=tick,
            client_gone=partial(has_hung_up, scope),
            hang_up=partial(hang_up, scope),
        )
        self.books.enter(call)
        return call

    async def _answer(
        self,
        call: ReceivedCall,
        request: CashbackRequest | InvalidRequest | None,
        headers: dict[bytes, bytes],
        receive: Receive,
    ) -> Reply | None:
        """None: the caller gets none, the connection is to be cut."""
        refused = self._refuse_at_the_door(call, headers)
        if refused is not None:
            return refused
        faults, roll = self.switch.faults, self.switch.roll()
        if roll.hang:
            await _left_within(HANG_LIMIT_SECONDS, receive)
            return None
        if faults.latency_ms and await _left_within(faults.latency_ms / 1000, receive):
            return None
        if call.abandoned:
            return None
        if roll.error:
            error = refusal(faults.error_status, "injected_error", "an error was asked for")
            return replace(error, retry_after_seconds=faults.retry_after_seconds)
        answer = self._judge(call, request, faults)
        return None if roll.lost_answer else answer

    def _refuse_at_the_door(self, call: ReceivedCall, headers: dict[bytes, bytes]) -> Reply | None:
        if self.switch.faults.down:
            return refusal(503, "down", "the third party is down")
        if self.token is not None:
            expected = f"Bearer {self.token}".encode()
            if not compare_digest(headers.get(b"authorization", b""), expected):
                return refusal(401, "unauthorized", "no bearer token, or a wrong one")
        if not call.mutating:
            return None
        if call.key is None:
            return refusal(400, "missing_key", "a call that changes something needs an Idempotency-Key")
        if len(call.key) > MAX_KEY_CHARACTERS:
            return refusal(400, "invalid_key", f"an Idempotency-Key has at most {MAX_KEY_CHARACTERS} characters")
        return self.books.claim_key(call)

    def _judge(self, call: ReceivedCall, request: CashbackRequest | InvalidRequest | None, faults: Faults) -> Reply:
        if isinstance(request, _TooLargeError):
            return refusal(413, "too_large", str(request))
        if isinstance(request, InvalidRequest):
            return refusal(400, "invalid_request", str(request))
        if request is not None:
            kept = faults.key_retention_seconds
            return self.books.judge(
                call,
                request,
                reject=call.order_id in faults.reject_orders,
                key_retention_ns=None if kept is None else round(kept * NANOSECONDS_PER_SECOND),
            )
        assert call.order_id is not None
        return self.books.lookup(call.order_id)


async def _never() -> Message:
    """The caller is behind a proxy that waits for us."""
    await asyncio.Event().wait()
    raise AssertionError


def _is_never_gone() -> bool:
    return False


def _shown(header: bytes) -> str:
    return header[:MAX_LOGGED_CHARACTERS].decode("latin-1")


async def _read_body(receive: Receive) -> bytes | None:
    """None: there are more than MAX_BODY_BYTES (they're read all the same, so that the caller hears the answer)."""
    parts: list[bytes] = []
    size_bytes = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _NoCallError
                part = message.get("body", b"")
                size_bytes += len(part)
                if size_bytes <= MAX_BODY_BYTES:
                    parts.append(part)
                more = message.get("more_body", False)
    except TimeoutError as error:
        raise _NoCallError from error
    return b"".join(parts) if size_bytes <= MAX_BODY_BYTES else None


async def _left_within(seconds: float, receive: Receive) -> bool:
    """Waits; True at once when the caller hangs up."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True


async def _send(send: Send, answer: Reply) -> None:
    kind = b"application/json" if answer.status < 400 else b"application/problem+json"  # noqa: PLR2004  # RFC 9110
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(answer.body))]
    if answer.hit:
        headers.append((b"idempotency-hit", b"true"))
    if answer.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % answer.retry_after_seconds))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
