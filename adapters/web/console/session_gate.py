"""The console's door: nobody sees a page without having signed in, and no form counts that isn't ours.

Closed by default: a page that is added later is behind it too.
"""

import re
from typing import Any, Final
from urllib.parse import parse_qsl, quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters.operations.ports import EndedSessions
from adapters.records.personal_tokens import Access
from adapters.web.auth import Tokens
from adapters.web.console.sessions import SESSION_SECONDS, Session, Sessions
from adapters.web.origin import ANOTHER_SITE, is_fetched_from_elsewhere
from adapters.web.parameters import storable
from adapters.web.problems import store_unavailable
from adapters.web.responses import ProblemResponse
from domain.ports import StoreUnavailable

COOKIE: Final = "cashback_session"
SIGN_IN: Final = "/sign-in"
SIGN_OUT: Final = "/sign-out"
STATIC: Final = "/static/"
MAX_FORM_BYTES: Final = 64 * 1024
LARGE_FORMS: Final = re.compile(r"/replays/new|/quarantine/[^/]+/edit")
MAX_LARGE_FORM_BYTES: Final = 4 * 1024 * 1024
"""Of those, from somebody who may act: thousands of order ids, or a whole message."""
MAX_FORM_FIELDS: Final = 50
REFRESH_HEADER: Final = "x-refresh"
"""Of requests that our script makes: it can't follow to the page for signing in."""

_READING: Final = frozenset({"GET", "HEAD"})
_NOT_EXPIRED: Final = "the form is too old, or not of this console: load the page again"
# A strict cookie doesn't come with a click on another site, say in a chat; when our own page asks again, it does.
_ONCE_MORE: Final = '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0"><title>…</title>'


class SessionGate:
    """Puts `session`, `form_token` and, of a POST, `form` (dict of texts) into the request's state."""

    def __init__(self, app: ASGIApp, tokens: Tokens, sessions: Sessions, ended: EndedSessions) -> None:
        self._app = app
        self._tokens = tokens
        self._sessions = sessions
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(STATIC):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            session = await self._session(request.cookies.get(COOKIE))
        except StoreUnavailable as error:
            await store_unavailable(scope, error)(scope, receive, send)
            return
        if session is None and self._tokens.open:
            session = self._sessions.begin(Access.ACT, "")
            send = _with_cookie(send, request, self._sessions.write(session))
        request.state.session = session
        request.state.form_token = self._sessions.form_token(session) if session else ""
        refusal = await self._refusal(request, session)
        await (refusal or self._app)(scope, receive, send)

    async def _session(self, cookie: str | None) -> Session | None:
        """Where nobody needs to sign in, there is nothing to sign out of. Raises StoreUnavailable."""
        session = self._sessions.read(cookie)
        if session is None or self._tokens.open:
            return session
        return None if await self._ended.has_ended(session.nonce) else session

    async def _refusal(self, request: Request, session: Session | None) -> Response | None:
        """None if the request may pass."""
        if request.method in _READING:
            return None if session or request.url.path == SIGN_IN else _asked_to_sign_in(request)
        if request.method != "POST":
            return ProblemResponse(405, f"{request.method} is not possible here", headers={"Allow": "GET, POST"})
        if is_fetched_from_elsewhere(request.headers):
            return ProblemResponse(403, ANOTHER_SITE)
        is_large = session is not None and session.may_act and LARGE_FORMS.fullmatch(request.url.path)
        form = await _form(request, MAX_LARGE_FORM_BYTES if is_large else MAX_FORM_BYTES)
        if isinstance(form, Response):
            return form
        request.state.form = form
        if request.url.path == SIGN_IN:
            return None
        if session is None:
            return ProblemResponse(401, "you aren't signed in any more: sign in, then do it again")
        if not self._sessions.is_form_token(session, form.get("form_token", "")):
            return ProblemResponse(403, _NOT_EXPIRED)
        if not session.may_act and request.url.path != SIGN_OUT:
            return ProblemResponse(403, "you are signed in to read, and may change nothing")
        return None


def sign_in(response: Response, request: Request, cookie: str) -> None:
    response.headers.append("set-cookie", _cookie(request, cookie, SESSION_SECONDS))


def sign_out(response: Response, request: Request) -> None:
    response.headers.append("set-cookie", _cookie(request, "", 0))


def safe_path(wanted: str) -> str:
    """A path of ours to go to; `/` for everything else."""
    return wanted if re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", wanted) else "/"


def _asked_to_sign_in(request: Request) -> Response:
    if REFRESH_HEADER in request.headers:
        return ProblemResponse(401, "you aren't signed in any more")
    if (
        request.headers.get("sec-fetch-site") == "cross-site"
        and request.headers.get("sec-fetch-dest") == "document"
    ):
        return HTMLResponse(_ONCE_MORE)
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"{SIGN_IN}?next={quote(request.url.path + query, safe='/')}", 303)


async def _form(request: Request, max_bytes: int) -> dict[str, str] | Response:
    """The fields of a form; of several of one name the last."""
    media_type, _, _ = request.headers.get("content-type", "").partition(";")
    if media_type.strip().lower() != "application/x-www-form-urlencoded":
        return ProblemResponse(415, "a form is needed")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            return ProblemResponse(413, f"the form is larger than {max_bytes} bytes")
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS, errors="strict"
        )
        return {name: storable(value.replace("\r\n", "\n")) for name, value in pairs}
    except ValueError:
        return ProblemResponse(400, "the form can't be read")


def _with_cookie(send: Send, request: Request, cookie: str) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            header: tuple[bytes, Any] = (b"set-cookie", _cookie(request, cookie, SESSION_SECONDS).encode())
            message = {**message, "headers": [*message["headers"], header]}
        await send(message)

    return wrapped


def _cookie(request: Request, value: str, seconds: int) -> str:
    """Believing anybody who says that it was https: it can only make the cookie's use narrower."""
    forwarded = request.headers.get("x-forwarded-proto", "").strip().lower()
    secure = "; Secure" if request.url.scheme == "https" or forwarded.startswith("https") else ""
    return f"{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
