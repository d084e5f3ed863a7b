"""Pages from templates, with the headers that each of them needs."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters.presentation import formatting
from adapters.presentation.message_texts import pretty
from adapters.presentation.printable import escaped
from adapters.presentation.verdict_words import digits, money
from adapters.web.console.sentences import number_of, selection_says, sentence
from domain.exact_json import loads

if TYPE_CHECKING:
    from adapters.web.console.sessions import Session

MEDIA_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class NavItem(NamedTuple):
    """An entry of the menu. `key` is what `g` and this letter lead to."""

    path: str
    name: str
    key: str


PLACES: Final = (
    NavItem("/", "Overview", "h"),
    NavItem("/orders", "Orders", "o"),
    NavItem("/money-may-be-wrong", "Money may be wrong", "m"),
    NavItem("/parked", "Parked", "p"),
    NavItem("/quarantine", "Quarantine", "q"),
    NavItem("/jobs", "Jobs", "j"),
    NavItem("/reconciliation", "Reconciliation", "c"),
    NavItem("/statement", "Statement", "s"),
    NavItem("/audit", "Audit", "a"),
)


class Pages:
    """Templates and assets, read once. `is_open`: nobody needs to sign in; `currency`: of all amounts."""

    def __init__(
        self, *, is_open: bool, currency: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._clock = clock
        self._assets = _assets()
        digest = hashlib.sha256(b"".join(body for _, body in sorted(self._assets.items()))).hexdigest()
        self._environment = Environment(
            loader=PackageLoader("adapters.web.console"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_shown,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            formatting.FILTERS,
            exact=escape,
            escaped=escaped,
            sentence=sentence,
            number_of=number_of,
            digits=digits,
            money=money,
            pretty=lambda text: pretty(text.encode()),
            selection=selection_says,
        )
        self._environment.globals.update(places=PLACES, version=digest[:12], is_open=is_open, currency=currency)

    def page(self, request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
        """With what every page shows beside its own `context`."""
        session: Session | None = getattr(request.state, "session", None)
        text = self._environment.get_template(template).render(
            session=session,
            may_act=session is not None and session.may_act,
            form_token=getattr(request.state, "form_token", ""),
            path=request.url.path,
            counts={"m": getattr(request.state, "cases", 0), "c": getattr(request.state, "differences", 0)},
            now=self._clock(),
            **context,
        )
        return HTMLResponse(text, status)

    def asset(self, name: str) -> Response | None:
        """Its address changes with it, so it may be kept for ever."""
        body = self._assets.get(name)
        if body is None:
            return None
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(body, media_type=MEDIA_TYPES[name.rpartition(".")[2]], headers=headers)


def _shown(value: Any) -> Any:
    """Of every expression in a template: text of others is shown, not played. What is markup was looked at when it
    was made; what a form gives back is `exact`."""
    return escaped(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _assets() -> dict[str, bytes]:
    folder = files("adapters.web.console").joinpath("static")
    return {
        each.name: each.read_bytes() for each in folder.iterdir() if each.name.rpartition(".")[2] in MEDIA_TYPES
    }


class PageHeaders:
    """What protects a page, on everything that the console answers. What isn't an asset is kept nowhere."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, protected)


class ProblemPages:
    """Shows problem details as a page: one place (adapters/web/problems.py) judges errors for API and console."""

    def __init__(self, app: ASGIApp, pages: Pages) -> None:
        self._app = app
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message | None = None
        body = bytearray()

        async def watched(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_problem(message):
                start = message
                return
            if start is None:
                await send(message)
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body", False):
                await self._show(scope, receive, send, start, bytes(body))

        await self._app(scope, receive, watched)

    async def _show(self, scope: Scope, receive: Receive, send: Send, start: Message, body: bytes) -> None:
        problem = loads(body)
        back = _page_before(scope["path"])
        page = self._pages.page(Request(scope), "problem.html", start["status"], problem=problem, back=back)
        for name in ("retry-after", "allow"):
            value = MutableHeaders(scope=start).get(name)
            if value is not None:
                page.headers[name] = value
        await page(scope, receive, send)


def _page_before(path: str) -> str | None:
    """Where somebody came from who is at the page of an action."""
    match path.split("/"):
        case ["", "orders" | "parked", order_id, _]:
            return f"/orders/{order_id}"
        case ["", "quarantine" | "jobs" as place, thing, _]:
            return f"/{place}/{thing}"
        case ["", "replays", job_id, _]:
            return f"/jobs/{job_id}"
        case ["", "reconciliation", _, *_]:
            return "/reconciliation"
        case _:
            return None


def _is_problem(message: Message) -> bool:
    return MutableHeaders(scope=message).get("content-type", "").startswith("application/problem+json")
