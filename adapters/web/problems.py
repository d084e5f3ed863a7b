"""From exceptions to problem details: the one place where an error becomes a status."""

import re
import traceback
from collections.abc import Mapping
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters.presentation.paging import BadCursor
from adapters.records.errors import (
    KafkaUnreachable,
    OrderChanged,
    PartlyPublished,
    Refused,
    StillUnreadable,
    UnderWay,
    UnknownOrder,
    UnknownQuarantined,
    UnknownVersion,
)
from adapters.records.jobs import (
    JobRefused,
    NotPossibleNow,
    OtherThings,
    Overlaps,
    TokenExpired,
    TooManyOrders,
    UnknownJob,
    WrongToken,
)
from adapters.web.responses import ProblemResponse
from domain.ports import StoreUnavailable

MAX_BODY_BYTES: Final = 64 * 1024
RETRY_AFTER_SECONDS: Final = 5
MAX_SHOWN_FRAMES: Final = 5
MAX_SHOWN_FAULTS: Final = 20

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
RETRY: Final = {"Retry-After": str(RETRY_AFTER_SECONDS)}

log = structlog.get_logger(__name__)


def add_problem_handlers(app: FastAPI) -> None:
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(BadCursor, _bad_cursor)
    app.add_exception_handler(UnknownOrder, _unknown)
    app.add_exception_handler(UnknownQuarantined, _unknown)
    app.add_exception_handler(UnknownVersion, _unknown)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(OrderChanged, _changed)
    app.add_exception_handler(StillUnreadable, _still_unreadable)
    app.add_exception_handler(JobRefused, _job_refused)
    app.add_exception_handler(StoreUnavailable, _store_unavailable)
    app.add_exception_handler(KafkaUnreachable, _kafka_unreachable)
    app.add_exception_handler(PartlyPublished, _partly_published)


async def _invalid(_: Request, error: Exception) -> ProblemResponse:
    """400 for the address and for what isn't JSON, 422 for a body that is, but says something wrong."""
    assert isinstance(error, RequestValidationError)
    faults = error.errors()[:MAX_SHOWN_FAULTS]
    places = {fault["loc"][0] for fault in faults}
    if any(fault["type"] == "json_invalid" for fault in faults):
        return ProblemResponse(400, "the body isn't JSON")
    detail = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {_message(fault)}" for fault in faults)
    errors = [_place(fault["loc"]) | {"detail": _message(fault)} for fault in faults]
    return ProblemResponse(422 if places == {"body"} else 400, detail, errors=errors)


def _message(fault: dict[str, Any]) -> str:
    return str(fault["msg"]).removeprefix("Value error, ")


def _place(location: tuple[str | int, ...]) -> dict[str, str]:
    """A JSON pointer into the body (RFC 6901), or the name of a parameter."""
    where, *rest = location
    if where == "body":
        return {"pointer": "#" + "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in rest)}
    return {"parameter": str(rest[0]) if rest else str(where)}


async def _http_error(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, HTTPException)
    match error.status_code:
        case 404 if error.detail == "Not Found":
            detail = "there is nothing at this address"
        case 405:
            detail = f"{request.method} is not possible here"
            return ProblemResponse(405, detail, headers={"Allow": ", ".join(_allowed(request))})
        case _:
            detail = error.detail
    return ProblemResponse(error.status_code, detail, headers=error.headers)


async def _bad_cursor(*_: object) -> ProblemResponse:
    return ProblemResponse(400, "query.cursor: not a cursor of this list")


def _allowed(request: Request) -> list[str]:
    """Of all endpoints at this address: the router knows only the first one's."""
    return [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]


async def _unknown(_: Request, error: Exception) -> ProblemResponse:
    return ProblemResponse(404, str(error))


async def _refused(_: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, Refused)
    state = {} if error.state is None else {"state": error.state}
    return ProblemResponse(409, str(error), headers=RETRY if isinstance(error, UnderWay) else None, **state)


async def _changed(_: Request, error: Exception) -> ProblemResponse:
    return ProblemResponse(412, str(error))


async def _still_unreadable(_: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, StillUnreadable)
    return ProblemResponse(422, str(error), reason=error.reason)


async def _job_refused(_: Request, error: Exception) -> ProblemResponse:
    match error:
        case UnknownJob():
            return ProblemResponse(404, str(error))
        case TokenExpired():
            return ProblemResponse(410, str(error))
        case TooManyOrders() | OtherThings():
            return ProblemResponse(422, str(error))
        case Overlaps():
            return ProblemResponse(409, str(error), running=error.other)
        case WrongToken() | NotPossibleNow():
            return ProblemResponse(409, str(error))
        case _:
            raise error


async def _store_unavailable(request: Request, error: Exception) -> ProblemResponse:
    return store_unavailable(request.scope, error)


def store_unavailable(scope: Scope, error: Exception) -> ProblemResponse:
    _log_failure(scope, 503, why=str(error))
    return ProblemResponse(503, "the database can't be reached; try again", headers=RETRY)


async def _kafka_unreachable(request: Request, error: Exception) -> ProblemResponse:
    _log_failure(request.scope, 503, why=str(error))
    return ProblemResponse(503, f"{error}; nothing was published", headers=RETRY)


async def _partly_published(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, PartlyPublished)
    _log_failure(request.scope, 502, why=str(error))
    return ProblemResponse(502, str(error), published=error.published, total=error.total)


class LastResort:
    """Answers for what nobody has foreseen. The log gets the place and the kind of error, not its text, which may
    hold a buyer's data; the caller gets neither."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:  # while the body was read: nobody is there to be answered
            return
        except Exception as error:
            if scope["type"] != "http" or started:
                raise
            frames = traceback.extract_tb(error.__traceback__)[-MAX_SHOWN_FRAMES:]
            where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
            _log_failure(scope, 500, error=type(error).__name__, where=where)
            await ProblemResponse(500, "an error of ours; the log of the service says where")(scope, receive, send)


class BodyLimit:
    """Refuses a body that is too large as soon as that is known, and only if somebody reads it."""

    def __init__(
        self, app: ASGIApp, max_bytes: int = MAX_BODY_BYTES, *, larger: Mapping[str, int] | None = None
    ) -> None:
        """`larger` limits are those of single paths, in bytes; `*` in one stands for one piece of a path."""
        self._app = app
        self._max_bytes = max_bytes
        self._larger = [
            (re.compile(re.escape(path).replace(r"\*", "[^/]+")), limit) for path, limit in (larger or {}).items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        total, max_bytes = 0, self._limit(scope.get("path", ""))

        async def counted() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > max_bytes:
                raise HTTPException(413, f"the body is larger than {max_bytes} bytes")
            return message

        await self._app(scope, counted, send)

    def _limit(self, path: str) -> int:
        return next((limit for pattern, limit in self._larger if pattern.fullmatch(path)), self._max_bytes)


def _log_failure(scope: Scope, status: int, **more: Any) -> None:
    """Without the query: it may name a buyer."""
    log.error("request failed", method=scope["method"], path=scope["path"], status=status, **more)
