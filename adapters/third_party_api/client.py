"""The third party over HTTP: one attempt at a call, and what its answer means (contract.md, section 2)."""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Final, Self

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from adapters.third_party_api.signing import Signer
from adapters.third_party_api.tls import tls_context
from domain.errors import BadAmount
from domain.exact_json import InvalidJson, loads
from domain.money import check_amount
from projections.delivery.ports import Answer, Call, Found, Lookup, NotFound, Outcome
from projections.intended_calls import path_of

MAX_ANSWER_BYTES: Final = 64 * 1024
"""What is read of an answer; the rest is not waited for."""
MAX_KEPT_CHARACTERS: Final = 500
"""What is kept of it, for people."""
KEEP_ALIVE_SECONDS: Final = 4.0
"""Less than servers commonly allow (uvicorn: 5), so that it's us who close an idle connection."""

_RETRY_STATUSES: Final = {408, 425, 429}
_UNAUTHORIZED_STATUSES: Final = {401, 403}
_CONFLICT: Final = 409
_NOT_FOUND: Final = 404
_LOOKUP_STATUSES: Final = ("PENDING", "COMPLETED", "CANCELLED")


class ThirdPartyClient:
    """For one event loop. Use as an async context manager.

    A call is one request on httpx's transport, without httpx's client above it: nothing follows redirects, keeps
    cookies, looks for proxies and passwords in the environment, or sends again. (It also takes a third less time.)
    """

    def __init__(  # noqa: PLR0913 - what a connection and a call are made of
        self,
        base_url: str,
        *,
        token: str | None,
        timeout_seconds: float,
        concurrency: int,
        signer: Signer | None = None,
        tls: ssl.SSLContext | None = None,
        trace_headers: Callable[[], Mapping[str, str]] | None = None,
    ) -> None:
        """Without `tls` the machine's authorities are trusted. `trace_headers` are added to each request; signed
        they aren't."""
        self._base_url = base_url
        self._timeout_seconds = timeout_seconds
        self._signer = signer
        self._trace_headers = trace_headers
        self._headers = {
            "Content-Type": "application/json",
            "User-Agent": "order-cashback-integration",
            "Accept-Encoding": "identity",  # a packed answer could be small on the way and huge in memory
        }
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        tls = tls or tls_context()
        self._transport = AiohttpTransport(verify=tls, client=lambda: _session(concurrency, tls))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.aclose()

    async def send(self, call: Call) -> Answer:
        method, path = path_of(call.kind, call.order_id)
        key = str(call.key)
        headers = self._headers_now() | {"Idempotency-Key": key}
        if self._signer is not None:
            headers |= self._signer.headers(key, int(time.time()), call.body)
        answer, _ = await self._exchange(
            httpx.Request(method, self._base_url + path, headers=headers, content=call.body)
        )
        return answer

    async def lookup(self, order_id: int) -> Lookup:
        url = f"{self._base_url}/v1/cashbacks/{order_id}"
        request = httpx.Request("GET", url, headers=self._headers_now())
        return read_lookup(order_id, *await self._exchange(request))

    def _headers_now(self) -> dict[str, str]:
        return self._headers if self._trace_headers is None else {**self._headers, **self._trace_headers()}

    async def _exchange(self, request: httpx.Request) -> tuple[Answer, bytes]:
        """What the answer means for a call, and its body as far as it was read."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                response = await self._transport.handle_async_request(request)
                try:
                    body = await _bounded_body(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            return Answer(Outcome.IN_DOUBT, None, f"no answer within {self._timeout_seconds:g} s"), b""
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            # The transport calls a cut connection a time-out while connecting; its cause tells the truth.
            cause = error.__cause__ or error
            if isinstance(cause, aiohttp.ClientConnectorError):
                return Answer(Outcome.FAILED, None, f"no connection: {type(cause).__name__}"), b""
            return Answer(Outcome.IN_DOUBT, None, f"the connection broke: {type(cause).__name__}"), b""
        return classify(response.status_code, body, response.headers.get("Retry-After"), datetime.now(UTC)), body


def _session(concurrency: int, tls: ssl.SSLContext) -> aiohttp.ClientSession:
    """aiohttp does the work for httpx: its pool is several times faster (docs/adr/0006)."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=concurrency, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=tls),
        cookie_jar=aiohttp.DummyCookieJar(),  # it would keep them by itself
    )
    # aiohttp sends a PUT again by itself when a kept connection breaks: an attempt that nobody would know of. There
    # is no public switch; a test counts what the other side sees (tests/integration/test_third_party_client.py).
    session._retry_connection = False  # noqa: SLF001
    return session


def classify(status: int, body: bytes, retry_after: str | None, now: datetime) -> Answer:
    """What an answer means for the order whose call it answers.

    A redirect is followed by nobody, and no order is to blame for it: it has failed, like an error of the server's.
    """
    text = body.decode("utf-8", "replace")[:MAX_KEPT_CHARACTERS]
    wait_seconds = retry_after_seconds(retry_after, now)
    if httpx.codes.is_success(status):
        outcome = Outcome.DELIVERED
    elif status in _UNAUTHORIZED_STATUSES:
        outcome = Outcome.UNAUTHORIZED
    elif status == _CONFLICT and _code_of(body) == "in_flight":
        outcome = Outcome.IN_FLIGHT
    elif httpx.codes.is_client_error(status) and status not in _RETRY_STATUSES:
        outcome = Outcome.REFUSED
    else:
        outcome = Outcome.FAILED
    return Answer(outcome, status, text, wait_seconds)


def read_lookup(order_id: int, answer: Answer, body: bytes) -> Lookup:
    """What the answer to a lookup says; a 2xx that isn't what the contract says has failed."""
    if answer.status == _NOT_FOUND:
        return NotFound()
    if answer.outcome is not Outcome.DELIVERED:
        return answer
    try:
        said = loads(body)
        if type(said["orderId"]) is int and said["orderId"] == order_id and said["status"] in _LOOKUP_STATUSES:
            amount, last_date = said["cashbackAmount"], said["lastTransactionDate"]
            if type(amount) in {int, Decimal} and isinstance(last_date, str):
                return Found(said["status"], check_amount(amount), last_date)
    except (InvalidJson, BadAmount, KeyError, TypeError):
        pass
    return Answer(Outcome.FAILED, answer.status, "not the answer to a lookup")


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """`Retry-After` as seconds or as an HTTP date (RFC 9110, section 10.2.3); None if it's absent or neither."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value.strip()[:9])
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def _code_of(body: bytes) -> object:
    try:
        answer = loads(body)
    except InvalidJson:
        return None
    return answer.get("code") if isinstance(answer, dict) else None


async def _bounded_body(response: httpx.Response) -> bytes:
    body = b""
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) >= MAX_ANSWER_BYTES:
            break
    return body[:MAX_ANSWER_BYTES]
