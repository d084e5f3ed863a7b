"""Who may ask: everybody may probe, all else needs a token (contract.md, section 3)."""

import re
from collections.abc import Sequence
from enum import StrEnum
from hmac import compare_digest
from typing import Final

from fastapi import Depends
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.records.operators import Role
from adapters.settings import is_loopback
from adapters.web.failed_attempts import FailedAttempts
from adapters.web.responses import ProblemResponse

OPEN_PATHS: Final = frozenset({"/livez", "/readyz", "/metrics"})
_READING: Final = frozenset({"GET", "HEAD"})
_CHALLENGE: Final = 'Bearer realm="order-cashback-integration"'
TOO_LITTLE: Final = {"WWW-Authenticate": _CHALLENGE + ', error="insufficient_scope"'}
"""With a 403."""
TOO_MANY: Final = "too many wrong tokens have come from this address: try again later"
READERS_MAY: Final = "the token may read, and change nothing"


class Access(StrEnum):
    """What a token allows."""

    READ = "read"
    ACT = "act"
    """And read."""


class Tokens:
    """The tokens that are ours. Without any, all is open, to this machine alone."""

    def __init__(self, act: str | None, read: str | None = None) -> None:
        self._tokens = {
            access: token.encode()
            for access, token in ((Access.ACT, act), (Access.READ, read))
            if token is not None
        }

    @property
    def open(self) -> bool:
        return not self._tokens

    def access_of(self, given: bytes) -> Access | None:
        """None for a token that isn't ours."""
        found = [access for access, token in self._tokens.items() if compare_digest(given, token)]
        return found[0] if found else None

    def secret_of(self, access: Access) -> bytes | None:
        """None if nobody can have this access by a token."""
        return self._tokens.get(access)


class BearerToken:
    """Closed by default: a path that is added later needs the token too. With the reading token only what changes
    nothing is possible. Without tokens all is open. What was proved stands in the request's state, as `role`.

    From where too many wrong tokens came none is looked at for a while, a right one neither: else it could be told.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens, dry_runs: Sequence[str] = ()) -> None:
        """`dry_runs`: regular expressions of paths to which the reading token may POST. That it really is a dry run
        is for the endpoints to see to (`operators.asked`)."""
        self._app = app
        self._tokens = tokens
        self._dry_runs = [re.compile(path, re.ASCII) for path in dry_runs]
        self._failed = FailedAttempts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        if self._tokens.open:
            await self._let_in(Role.ANYBODY, scope, receive, send)
            return
        given = Headers(scope=scope).getlist("authorization")
        token = _bearer_token(given[0]) if len(given) == 1 else None
        address = scope["client"][0] if scope["client"] else ""
        if token is not None and (seconds := self._failed.wait_seconds(address)):
            response = ProblemResponse(429, TOO_MANY, headers={"Retry-After": str(seconds)})
            await response(scope, receive, send)
            return
        access = None if token is None else self._tokens.access_of(token)
        if token is not None and access is None:
            self._failed.note(address, token)
        if access is Access.ACT:
            await self._let_in(Role.OPERATOR, scope, receive, send)
        elif access is Access.READ and self._may_read(scope):
            await self._let_in(Role.READER, scope, receive, send)
        elif access is Access.READ:
            await ProblemResponse(403, READERS_MAY, headers=TOO_LITTLE)(scope, receive, send)
        else:
            detail = "the token is not ours" if given else "a bearer token is needed: Authorization: Bearer …"
            fault = ', error="invalid_token"' if given else ""
            response = ProblemResponse(401, detail, headers={"WWW-Authenticate": _CHALLENGE + fault})
            await response(scope, receive, send)

    async def _let_in(self, role: Role, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["role"] = role
        await self._app(scope, receive, send)

    def _may_read(self, scope: Scope) -> bool:
        if scope["method"] == "POST":
            return any(path.fullmatch(scope["path"]) for path in self._dry_runs)
        return scope["method"] in _READING


def _bearer_token(authorization: str) -> bytes | None:
    scheme, _, token = authorization.partition(" ")
    return token.strip().encode("latin-1") if scheme.lower() == "bearer" else None


class LoopbackNames:
    """For what listens on loopback only: a page of somebody else's whose name is made to lead to this machine (DNS
    rebinding) is refused, by the name that the browser asks for. Probes and metrics too: they name partitions and
    tell how business goes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = Headers(scope=scope).get("host", "") if scope["type"] == "http" else ""
        if not host or is_loopback(_without_port(host)):
            await self._app(scope, receive, send)
            return
        response = ProblemResponse(403, "only localhost, by that name, is answered here")
        await response(scope, receive, send)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


_TOKENS: Final = "CASHBACK_API_TOKEN; CASHBACK_API_READ_TOKEN for what changes nothing, dry runs too"


# For the description only: auth.py asks for the token, on every path.
TOKEN = Depends(HTTPBearer(auto_error=False, description=_TOKENS))
