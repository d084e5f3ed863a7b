"""What every answer says of itself, and requests whose end two readers would see at two places."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters.web.responses import ProblemResponse


class OneLength:
    """Refuses a request with both Content-Length and Transfer-Encoding (RFC 9112, section 6.1): a proxy that goes
    by the other one takes a part of it for another request. The connection ends: nobody knows what comes next."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if "content-length" in headers and "transfer-encoding" in headers:
            detail = "Content-Length and Transfer-Encoding exclude one another"
            await ProblemResponse(400, detail, headers={"Connection": "close"})(scope, receive, send)
            return
        await self._app(scope, receive, send)


class ApiHeaders:
    """Answers are what they say they are, and are kept nowhere unless an endpoint says something else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, with_headers)
