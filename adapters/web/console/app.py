"""The operators' console: pages over the same queries and commands as the API."""

from fastapi import Depends, FastAPI
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.web.auth import OPEN_PATHS, Tokens
from adapters.web.console.bulk_replays import bulk_router
from adapters.web.console.comparisons import comparing_router
from adapters.web.console.dependencies import ConsoleParts
from adapters.web.console.interventions import deciding_router
from adapters.web.console.jobs import jobs_router
from adapters.web.console.lists import lists_router
from adapters.web.console.money_may_be_wrong import CaseCount, money_router
from adapters.web.console.order_record import record_router
from adapters.web.console.orders import orders_router
from adapters.web.console.pages import PageHeaders, Pages, ProblemPages
from adapters.web.console.parked import parked_router
from adapters.web.console.quarantine import quarantine_router
from adapters.web.console.replay import redelivering_router
from adapters.web.console.runbooks import runbooks_router
from adapters.web.console.search import search_router
from adapters.web.console.session_gate import STATIC, SessionGate
from adapters.web.console.sessions import Sessions
from adapters.web.console.sign_in import sign_in_router
from adapters.web.console.statement import statement_router
from adapters.web.problems import LastResort, add_problem_handlers
from adapters.web.responses import ProblemResponse


def create_console(parts: ConsoleParts, tokens: Tokens) -> ASGIApp:
    """Without tokens nobody needs to sign in, and each page says so loudly."""
    sessions, pages = Sessions(tokens), Pages(is_open=tokens.open, currency=parts.till.currency)
    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(CaseCount(parts))],
    )
    add_problem_handlers(app)

    @app.get(f"{STATIC}{{name}}")
    async def asset(name: str) -> Response:
        return pages.asset(name) or ProblemResponse(404, "there is no such file")

    app.include_router(sign_in_router(tokens, sessions, parts.ended_sessions, pages))
    app.include_router(orders_router(parts, pages))
    app.include_router(record_router(parts, pages))
    app.include_router(runbooks_router(pages))
    app.include_router(search_router(parts, pages))
    app.include_router(redelivering_router(parts, pages))
    app.include_router(parked_router(parts, pages))
    app.include_router(deciding_router(parts, pages))
    app.include_router(quarantine_router(parts, pages))
    app.include_router(bulk_router(parts, pages))
    app.include_router(comparing_router(parts, pages))
    app.include_router(jobs_router(parts, pages))
    app.include_router(money_router(parts, pages))
    app.include_router(statement_router(parts, pages))
    app.include_router(lists_router(parts, pages))  # behind the others: its addresses with ids take any word
    # The last one added is the outermost.
    app.add_middleware(SessionGate, tokens=tokens, sessions=sessions, ended=parts.ended_sessions)
    app.add_middleware(LastResort)
    app.add_middleware(ProblemPages, pages=pages)
    app.add_middleware(PageHeaders)
    return app


class ConsoleElsewhere:
    """What isn't the API's is the console's."""

    def __init__(self, app: ASGIApp, console: ASGIApp) -> None:
        self._app = app
        self._console = console

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope.get("path", "")
        is_api = scope["type"] != "http" or path in OPEN_PATHS or path == "/api" or path.startswith("/api/")
        await (self._app if is_api else self._console)(scope, receive, send)
