"""Our own writes under an `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): done once.

The first answer comes again, with `Idempotency-Hit: true`, for a day (KEY_RETENTION_HOURS). Kept are the answers of
what was done; a refusal (4xx, 5xx) isn't kept, and the same or another request may have its key.

What holds if a process dies in the middle: the request's id is written down with the action, in one transaction. So
what was done is never done again under its key, also if the answer was lost before it was kept: whoever asks again
is told so, by a 409 with `"state": "done"`. What wasn't done is done when it is asked for again, at once or when
the claim of the dead process has run out. Three things may then be done again, as they are no action in the
database, or none at all: republishing (its messages are recognised as repeats), dry runs, and previews of bulk
replays. An answer of more than MAX_KEPT_ANSWER_BYTES counts as lost.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from http import HTTPStatus
from typing import Annotated, Final, Protocol

from fastapi import Depends, Header
from pydantic import WithJsonSchema
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters.records.errors import KeyReused, Refused
from adapters.records.idempotency import Claimed, KeptAnswer, KeyedRequest
from adapters.web.problems import RETRY, store_unavailable
from adapters.web.responses import ProblemResponse
from domain.ports import StoreUnavailable

HIT: Final = "Idempotency-Hit"
MAX_KEPT_ANSWER_BYTES: Final = 1024 * 1024

_NAME: Final = "Idempotency-Key"
_KEY: Final = r"^[!-~]{1,255}$"
_PLACE: Final = "/api/"


class Requests(Protocol):
    """See adapters.postgres.idempotency.PostgresRequests."""

    async def begin(self, request: KeyedRequest) -> Claimed | KeptAnswer: ...
    async def keep(self, claimed: Claimed, answer: KeptAnswer) -> None: ...
    async def let_go(self, claimed: Claimed) -> None: ...


class IdempotentWrites:
    """Knows who asks from `asker` in the request's state, and leaves `request_id` there for the record."""

    def __init__(self, app: ASGIApp, requests: Requests, max_body_bytes: int) -> None:
        """`max_body_bytes`: of any request; single paths may have limits of their own behind this."""
        self._app = app
        self._requests = requests
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        keys = Headers(scope=scope).getlist(_NAME) if scope["type"] == "http" else []
        if not keys or scope["method"] != "POST" or not scope["path"].startswith(_PLACE):
            await self._app(scope, receive, send)
            return
        response = await self._answer(scope, receive, keys)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, keys: Sequence[str]) -> Response:
        if len(keys) > 1 or not re.fullmatch(_KEY, keys[0]):
            return ProblemResponse(400, f"{_NAME}: one, of 1 to 255 visible ASCII characters")
        try:
            body = await _read(scope, receive, self._max_body_bytes)
        except ClientDisconnect:  # a part of a body may ask for more than the whole: without `dryRun`, say
            return ProblemResponse(400, "the body has not come whole")
        if body is None:
            return ProblemResponse(413, f"the body is larger than {self._max_body_bytes} bytes")
        request = KeyedRequest(scope["state"]["asker"], keys[0], _digest(scope, body))
        try:
            begun = await self._requests.begin(request)
        except KeyReused as error:
            return ProblemResponse(422, str(error))
        except Refused as error:
            return ProblemResponse(409, str(error), headers=RETRY, state=error.state)
        except StoreUnavailable as error:
            return store_unavailable(scope, error)
        if isinstance(begun, KeptAnswer):
            return _response(begun.status, [*begun.headers, (HIT, "true")], begun.body)
        try:
            scope["state"]["request_id"] = begun.id
            answer = await _first_answer(self._app, scope, _again(body, receive))
            with suppress(StoreUnavailable):  # then the next one is told that it was done
                if answer.status < HTTPStatus.BAD_REQUEST and len(answer.body) <= MAX_KEPT_ANSWER_BYTES:
                    await self._requests.keep(begun, answer)
        finally:
            with suppress(StoreUnavailable):  # then the claim runs out
                await self._requests.let_go(begun)
        return _response(answer.status, answer.headers, answer.body)


async def _read(scope: Scope, receive: Receive, max_bytes: int) -> bytes | None:
    """The whole body; None if it is larger. Raises ClientDisconnect if it ends before its end."""
    body = bytearray()
    async for chunk in Request(scope, receive).stream():
        body += chunk
        if len(body) > max_bytes:
            return None
    return bytes(body)


def _digest(scope: Scope, body: bytes) -> bytes:
    """Of all that makes it another request; who asks, and what they have seen, doesn't."""
    address = scope["raw_path"] + b"?" + scope["query_string"]
    return blake2b(len(address).to_bytes(4, "big") + address + body, digest_size=32).digest()


def _again(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def read() -> Message:
        return messages.pop() if messages else await receive()

    return read


async def _first_answer(app: ASGIApp, scope: Scope, receive: Receive) -> KeptAnswer:
    """Kept back until it is stored."""
    status, headers, body = 0, list[tuple[str, str]](), bytearray()

    async def send(message: Message) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]
        body.extend(message.get("body", b""))

    await app(scope, receive, send)
    return KeptAnswer(status, headers, bytes(body))


def _response(status: int, headers: Sequence[tuple[str, str]], body: bytes) -> Response:
    response = Response(status_code=status)
    response.body = body
    response.raw_headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return response


def _describe(
    idempotency_key: Annotated[  # the middleware reads it
        Annotated[str | None, WithJsonSchema({"type": "string", "pattern": _KEY})],
        Header(description="the request is carried out once under it; the first answer comes again, with " + HIT),
    ] = None,
) -> None:
    pass


IDEMPOTENT: Final = Depends(_describe)
"""For the description of an endpoint."""
