"""Signing in with one of the API's tokens, and out."""

from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from adapters.operations.ports import EndedSessions
from adapters.presentation.formatting import span
from adapters.records.operators import MAX_NAME_LENGTH
from adapters.web.auth import Tokens
from adapters.web.console.confirmation import form_of
from adapters.web.console.pages import Pages
from adapters.web.console.parameters import SignInQuery
from adapters.web.console.session_gate import SIGN_IN, SIGN_OUT, safe_path, sign_in, sign_out
from adapters.web.console.sessions import Sessions
from adapters.web.failed_attempts import MAX_FAILURES, FailedAttempts

MAX_TOKEN_LENGTH: Final = 1000

log = structlog.get_logger(__name__)


def sign_in_router(tokens: Tokens, sessions: Sessions, ended: EndedSessions, pages: Pages) -> APIRouter:
    router = APIRouter()
    failed = FailedAttempts(max_failures=MAX_FAILURES)

    @router.get(SIGN_IN)
    async def ask(request: Request, query: Annotated[SignInQuery, Query()]) -> Response:
        if request.state.session is not None:
            return RedirectResponse(safe_path(query.next), 303)
        return pages.page(request, "sign_in.html", next=safe_path(query.next), name="", fault=None)

    @router.post(SIGN_IN)
    async def enter(request: Request) -> Response:
        """No `await` between the question whether one may try and the note that it failed: tries at the same moment
        don't pass together."""
        form = form_of(request)
        name, wanted = form.get("name", "").strip(), safe_path(form.get("next", "/"))
        address = request.client.host if request.client else ""

        def again(status: int, fault: str) -> Response:
            return pages.page(
                request, "sign_in.html", status, next=wanted, name=name[:MAX_NAME_LENGTH], fault=fault
            )

        if seconds := failed.wait_seconds(address):
            response = again(429, f"Too many attempts have failed. Try again in {span(seconds)}.")
            response.headers["Retry-After"] = str(seconds)
            return response
        token = form.get("token", "")[:MAX_TOKEN_LENGTH].strip().encode()
        bearer = tokens.bearer_of(token)
        if bearer is None:
            failed.note(address, token)
            log.warning("somebody could not sign in to the console: the token is not ours")
            return again(422, "The token is not ours.")
        if bearer.name is not None and name not in {"", bearer.name}:
            return again(422, "The token is somebody's own: sign in by their name, or leave the name out.")
        name = bearer.name or name
        if not name or len(name) > MAX_NAME_LENGTH or not name.isprintable():
            return again(
                422, f"Give your name, for the record of what was done: up to {MAX_NAME_LENGTH} characters."
            )
        begun = sessions.begin(bearer.access, name, is_proved=bearer.name is not None)
        response = RedirectResponse(wanted, 303)
        sign_in(response, request, sessions.write(begun))
        return response

    @router.post(SIGN_OUT)
    async def leave(request: Request) -> Response:
        """The session ends here, whatever becomes of the cookie: somebody may have a copy."""
        session = request.state.session
        await ended.end(session.nonce, session.expires_at)
        response = RedirectResponse(SIGN_IN, 303)
        sign_out(response, request)
        return response

    return router
