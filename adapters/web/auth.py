"""Who may ask: everybody may probe, all else needs the token (contract.md, section 3)."""

from hmac import compare_digest
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.web.responses import ProblemResponse

OPEN_PATHS: Final = frozenset({"/livez", "/readyz", "/metrics"})
_CHALLENGE: Final = 'Bearer realm="order-cashback-integration"'


class BearerToken:
    """Closed by default: a path that is added later needs the token too. Without a token all is open."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._token = token.encode() if token is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._token is None or scope["type"] == "lifespan" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).getlist("authorization")
        if len(given) == 1 and self._is_ours(given[0]):
            await self._app(scope, receive, send)
            return
        detail = "the token is not ours" if given else "a bearer token is needed: Authorization: Bearer …"
        challenge = _CHALLENGE + (', error="invalid_token"' if given else "")
        response = ProblemResponse(401, detail, headers={"WWW-Authenticate": challenge})
        await response(scope, receive, send)

    def _is_ours(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        assert self._token is not None
        return scheme.lower() == "bearer" and compare_digest(token.strip().encode("latin-1"), self._token)
