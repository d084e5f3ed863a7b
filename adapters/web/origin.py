"""Whether another site's page asks: a browser sends what such a page wants, and says so.

Sec-Fetch-Site is the Fetch Metadata standard's (W3C), Origin is RFC 6454's. Programs send neither, and may ask.
"""

from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.web.responses import ProblemResponse

ANOTHER_SITE: Final = "another site's page can't do this"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""RFC 9110, section 9.2.1: they change nothing."""
_OURS: Final = frozenset({"same-origin", "none"})
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class SameOrigin:
    """Refuses what would change something if a page of another origin asks for it, with a token or without one.
    Other sites are offered nothing (no CORS), so no page that works is concerned."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "http"
            and scope["method"] not in SAFE_METHODS
            and is_from_elsewhere(Headers(scope=scope))
        ):
            await ProblemResponse(403, ANOTHER_SITE)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def is_from_elsewhere(headers: Headers) -> bool:
    """By Sec-Fetch-Site; where it isn't sent (by old browsers, by all to an address without https), by Origin."""
    if "sec-fetch-site" in headers:
        return is_fetched_from_elsewhere(headers)
    origins = headers.getlist("origin")
    return bool(origins) and (len(origins) > 1 or not _is_of_host(origins[0], headers.get("host", "")))


def is_fetched_from_elsewhere(headers: Headers) -> bool:
    return not _OURS.issuperset(headers.getlist("sec-fetch-site"))


def _is_of_host(origin: str, host: str) -> bool:
    """The scheme isn't compared: a proxy may take it away."""
    try:
        scheme, authority = urlsplit(origin.lower())[:2]
    except ValueError:
        return False
    port = _DEFAULT_PORTS.get(scheme)
    return port is not None and authority.removesuffix(port) == host.lower().removesuffix(port)
