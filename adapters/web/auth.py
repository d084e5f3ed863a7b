"""Who may ask: everybody may probe, all else needs a token (contract.md, section 3)."""

import re
from collections.abc import Sequence
from hmac import compare_digest
from typing import Final, NamedTuple

from fastapi import Depends
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.records.operators import Role
from adapters.records.personal_tokens import Access, PersonalToken, digest_of
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


class Bearer(NamedTuple):
    """Whose a token is. `name`: whom it proves; None for one that several share."""

    access: Access
    name: str | None = None


class Tokens:
    """The tokens that are ours. Without any, all is open, to this machine alone. Those of people's own need the one
    that operators share beside them."""

    def __init__(self, act: str | None, read: str | None = None, personal: Sequence[PersonalToken] = ()) -> None:
        self._tokens = {
            access: token.encode()
            for access, token in ((Access.ACT, act), (Access.READ, read))
            if token is not None
        }
        self.personal = tuple(personal)

    @property
    def open(self) -> bool:
        return not self._tokens

    def bearer_of(self, given: bytes) -> Bearer | None:
        """None for a token that isn't ours."""
        found = [Bearer(access) for access, token in self._tokens.items() if compare_digest(given, token)]
        digest = digest_of(given)
        found += [Bearer(each.access, each.name) for each in self.personal if compare_digest(digest, each.digest)]
        return found[0] if found else None

    def secret_of(self, access: Access) -> bytes | None:
        """None if nobody can have this access by a token."""
        return self._tokens.get(access)


class BearerToken:
    """Closed by default: a path that is added later needs the token too. With the reading token only what changes
    nothing is possible. Without tokens all is open. What was proved stands in the request's state: `role`,
    `proved_name` (None unless the token is somebody's own), and both in one text, `asker`.

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
        bearer = None if token is None else self._tokens.bearer_of(token)
        if token is not None and bearer is None:
            self._failed.note(address, token)
        if bearer is not None and bearer.access is Access.ACT:
            role = Role.OPERATOR if bearer.name is None else Role.PERSONAL
            await self._let_in(role, scope, receive, send, bearer.name)
        elif bearer is not None and self._may_read(scope):
            await self._let_in(Role.READER, scope, receive, send, bearer.name)
        elif bearer is not None:
            await ProblemResponse(403, READERS_MAY, headers=TOO_LITTLE)(scope, receive, send)
        else:
            detail = "the token is not ours" if given else "a bearer token is needed: Authorization: Bearer …"
            fault = ', error="invalid_token"' if given else ""
            response = ProblemResponse(401, detail, headers={"WWW-Authenticate": _CHALLENGE + fault})
            await response(scope, receive, send)

    async def _let_in(
        self, role: Role, scope: Scope, receive: Receive, send: Send, proved_name: str | None = None
    ) -> None:
        asker = role.value if proved_name is None else f"{role}: {proved_name}"
        scope.setdefault("state", {}).update(role=role, proved_name=proved_name, asker=asker)
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


_TOKENS: Final = (
    "CASHBACK_API_TOKEN, or one of CASHBACK_API_TOKENS_FILE; CASHBACK_API_READ_TOKEN for what changes nothing, dry"
    " runs too"
)


# For the description only: auth.py asks for the token, on every path.
TOKEN = Depends(HTTPBearer(auto_error=False, description=_TOKENS))
