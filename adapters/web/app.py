"""The HTTP API (contract.md, section 3), made from its parts. Opens nothing itself: whoever serves it does."""

from collections.abc import Sequence
from typing import Final

from fastapi import FastAPI

from adapters.operations.ports import (
    Actions,
    EndedSessions,
    HealthCheck,
    Interventions,
    Jobs,
    MetricsText,
    MoneyMayBeWrong,
    Parking,
    QuarantineOperations,
    Queries,
    Reconciliation,
    Replays,
    Statements,
)
from adapters.records.personal_tokens import PersonalToken
from adapters.web.api.action_schemas import MAX_EDIT_BODY_BYTES
from adapters.web.api.audit import audit_router
from adapters.web.api.bulk_replays import BULK_PATH, MAX_BULK_BODY_BYTES, bulk_router
from adapters.web.api.money_may_be_wrong import money_router
from adapters.web.api.orders import orders_router
from adapters.web.api.parked import parked_router
from adapters.web.api.probes import probes_router
from adapters.web.api.quarantine import quarantine_router
from adapters.web.api.reconciliation import reconciliation_router
from adapters.web.api.statement import statement_router
from adapters.web.auth import BearerToken, LoopbackNames, Tokens
from adapters.web.console.app import ConsoleElsewhere, create_console
from adapters.web.console.dependencies import ConsoleParts, ConsoleQueries
from adapters.web.framing import ApiHeaders, OneLength
from adapters.web.idempotency import IdempotentWrites, Requests
from adapters.web.openapi import DescribedApp, operation_id
from adapters.web.origin import SameOrigin
from adapters.web.problems import BodyLimit, LastResort, add_problem_handlers
from domain.money import DEFAULT_TILL, Till

LARGER_BODIES: Final = {BULK_PATH: MAX_BULK_BODY_BYTES, "/api/quarantine/*/retry": MAX_EDIT_BODY_BYTES}
DRY_RUNS: Final = (
    r"/api/orders/[^/]+/(replay|settle|release)",
    r"/api/parked/[^/]+/(retry|skip)",
    r"/api/quarantine/[^/]+/(retry|discard)",
)
"""Where `dryRun` may be asked for, also by those who may only read."""
API_VERSION: Final = "1.0.0"


def create_app(  # noqa: PLR0913 - the parts that it is made from
    *,
    queries: Queries,
    replays: Replays,
    jobs: Jobs,
    reconciliation: Reconciliation,
    money_may_be_wrong: MoneyMayBeWrong,
    statements: Statements,
    parking: Parking,
    interventions: Interventions,
    quarantining: QuarantineOperations,
    actions: Actions,
    requests: Requests,
    health: HealthCheck,
    metrics_text: MetricsText,
    api_token: str | None,
    read_token: str | None = None,
    personal_tokens: Sequence[PersonalToken] = (),
    console: ConsoleQueries | None = None,
    may_compare: bool = False,
    ended_sessions: EndedSessions | None = None,
    till: Till = DEFAULT_TILL,
) -> FastAPI:
    """Without `api_token` everybody on this machine may do everything; without `console` there are no pages, and
    unless one `may_compare` no comparison can be started there. Pages need `ended_sessions`, too."""
    tokens = Tokens(api_token, read_token, personal_tokens)
    app = _bare_app(tokens, requests, openapi_url="/api/openapi.json")
    app.include_router(probes_router(health, metrics_text))
    app.include_router(orders_router(queries, replays, interventions, till))
    app.include_router(bulk_router(jobs))
    app.include_router(parked_router(queries, parking))
    app.include_router(quarantine_router(queries, quarantining))
    app.include_router(reconciliation_router(reconciliation))
    app.include_router(money_router(money_may_be_wrong))
    app.include_router(statement_router(statements, till))
    app.include_router(audit_router(actions))
    if console is not None:
        assert ended_sessions is not None, "pages need it"
        parts = ConsoleParts(
            queries=queries,
            console=console,
            replays=replays,
            jobs=jobs,
            reconciliation=reconciliation,
            money_may_be_wrong=money_may_be_wrong,
            statements=statements,
            parking=parking,
            interventions=interventions,
            quarantining=quarantining,
            may_compare=may_compare,
            actions=actions,
            ended_sessions=ended_sessions,
            till=till,
        )
        app.add_middleware(ConsoleElsewhere, console=create_console(parts, tokens))
    if tokens.open:
        app.add_middleware(LoopbackNames)
    app.add_middleware(OneLength)
    return app


def create_probes_app(*, health: HealthCheck, metrics_text: MetricsText, on_loopback: bool) -> FastAPI:
    """For processes without the API. `on_loopback`: only this machine reaches it; otherwise it is asked by whatever
    address a pod has."""
    app = _bare_app(Tokens(None), None, openapi_url=None)
    app.include_router(probes_router(health, metrics_text))
    if on_loopback:
        app.add_middleware(LoopbackNames)
    app.add_middleware(OneLength)
    return app


def _bare_app(tokens: Tokens, requests: Requests | None, *, openapi_url: str | None) -> FastAPI:
    app = DescribedApp(
        title="Order cashback integration",
        version=API_VERSION,
        generate_unique_id_function=operation_id,
        openapi_url=openapi_url,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    add_problem_handlers(app)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, larger=LARGER_BODIES)
    if requests is not None:
        app.add_middleware(IdempotentWrites, requests=requests, max_body_bytes=max(LARGER_BODIES.values()))
    app.add_middleware(BearerToken, tokens=tokens, dry_runs=DRY_RUNS)
    app.add_middleware(SameOrigin)
    app.add_middleware(LastResort)
    app.add_middleware(ApiHeaders)
    return app
