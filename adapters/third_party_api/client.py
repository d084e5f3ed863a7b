"""The third party over HTTP: one attempt at a call, and what its answer means (contract.md, section 2)."""

import asyncio
import re
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Final, Self

import httpx

from adapters.third_party_api.http_connections import Exchange, HttpConnections
from adapters.third_party_api.signing import Signer
from adapters.third_party_api.tls import tls_context
from domain.errors import BadAmount
from domain.exact_json import InvalidJson, loads
from domain.money import check_amount
from projections.delivery.ports import Answer, Call, Found, Lookup, NotFound, Outcome
from projections.intended_calls import path_of

MAX_KEPT_CHARACTERS: Final = 500
"""What is kept of an answer, for people."""

_RETRY_STATUSES: Final = {408, 425, 429}
_UNAUTHORIZED_STATUSES: Final = {401, 403}
_CONFLICT: Final = 409
_NOT_FOUND: Final = 404
_LOOKUP_STATUSES: Final = ("PENDING", "COMPLETED", "CANCELLED")
_DATE: Final = re.compile(r"[ -~]{1,100}")
"""Whether it is one is for whoever compares it; this much any text is that we keep and show."""


class ThirdPartyClient:
    """For one event loop. Use as an async context manager.

    Nothing follows redirects, keeps cookies, looks for proxies and passwords in the environment, or sends again.
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
        url = httpx.URL(base_url)
        is_secure = url.scheme == "https"
        self._path = url.raw_path.decode("ascii").rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._signer = signer
        self._trace_headers = trace_headers
        self._headers = {
            "Host": url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "User-Agent": "order-cashback-integration",
            "Accept-Encoding": "identity",  # a packed answer could be small on the way and huge in memory
        }
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._connections = HttpConnections(
            url.raw_host.decode("ascii"),
            url.port or (443 if is_secure else 80),
            tls=(tls or tls_context()) if is_secure else None,
            limit=concurrency,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connections.close()

    async def send(self, call: Call) -> Answer:
        method, path = path_of(call.kind, call.order_id)
        key = str(call.key)
        headers = {"Idempotency-Key": key, "Content-Length": str(len(call.body))}
        if self._signer is not None:
            headers |= self._signer.headers(key, int(time.time()), call.body)
        answer, _ = await self._exchange(self._head(method, path, headers) + call.body)
        return answer

    async def lookup(self, order_id: int) -> Lookup:
        head = self._head("GET", f"/v1/cashbacks/{order_id}", {})
        return read_lookup(order_id, *await self._exchange(head))

    def _head(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        traced = {} if self._trace_headers is None else self._trace_headers()
        fields = "".join(
            f"{name}: {value}\r\n" for each in (self._headers, traced, headers) for name, value in each.items()
        )
        return f"{method} {self._path}{path} HTTP/1.1\r\n{fields}\r\n".encode("ascii")

    async def _exchange(self, request: bytes) -> tuple[Answer, bytes]:
        """What the answer means for a call, and its body as far as it came. Whatever happens once the status is
        known, it stands."""
        exchange = Exchange()
        trouble = "the connection broke"
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._connections.send(request, exchange)
        except TimeoutError:
            trouble = f"no {'answer' if exchange.is_sent else 'connection'} within {self._timeout_seconds:g} s"
        except (OSError, UnicodeError) as error:
            trouble = f"no connection: {type(error).__name__}"
        if exchange.status is None:
            return Answer(Outcome.IN_DOUBT if exchange.is_sent else Outcome.FAILED, None, trouble), b""
        body = bytes(exchange.body)
        now = datetime.now(UTC)
        return classify(exchange.status, body, exchange.retry_after, now, is_whole=exchange.is_whole), body


def classify(status: int, body: bytes, retry_after: str | None, now: datetime, *, is_whole: bool = True) -> Answer:
    """What an answer means for the order whose call it answers.

    A redirect is followed by nobody, and no order is to blame for it: it has failed, like an error of the server's.
    A conflict whose body can't be read because it didn't come whole may be one about a call in flight.
    """
    text = body.decode("utf-8", "replace")[:MAX_KEPT_CHARACTERS]
    wait_seconds = retry_after_seconds(retry_after, now)
    if httpx.codes.is_success(status):
        outcome = Outcome.DELIVERED
    elif status in _UNAUTHORIZED_STATUSES:
        outcome = Outcome.UNAUTHORIZED
    elif status == _CONFLICT and _code_of(body) == "in_flight":
        outcome = Outcome.IN_FLIGHT
    elif status == _CONFLICT and not is_whole and _code_of(body) is None:
        outcome = Outcome.IN_DOUBT
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
            if type(amount) in {int, Decimal} and isinstance(last_date, str) and _DATE.fullmatch(last_date):
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
    except (ValueError, OverflowError):
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
