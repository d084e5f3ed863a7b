"""Replaying one order: its calls to the third party, or its messages to the topic."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import RedirectResponse, Response

from adapters.presentation.action_reports import replay_view
from adapters.records.errors import Refused
from adapters.web.console.confirmation import (
    NO_INPUT,
    Confirmation,
    FormInput,
    action_request,
    digest,
    form_input,
    form_of,
)
from adapters.web.console.dependencies import ConsoleParts
from adapters.web.console.pages import Pages
from adapters.web.console.parameters import ReplayQuery
from adapters.web.console.sentences import amount_said, replay_says
from adapters.web.parameters import Id
from projections.republication import Mode

OrderId = Annotated[Id, Path()]


def redelivering_router(parts: ConsoleParts, pages: Pages) -> APIRouter:
    router = APIRouter()

    async def planned(request: Request, order_id: int, query: ReplayQuery) -> dict[str, Any]:
        report = await parts.replays.replay(
            order_id, query.mode, asked=action_request(request), dry_run=True, options=query.options
        )
        return replay_view(report)

    def show(request: Request, query: ReplayQuery, plan: dict[str, Any], said: FormInput = NO_INPUT) -> Response:
        amounts = {each["version"]: amount_said(each) for each in plan["items"] if "body" in each}
        bodies = {each["version"]: bytes(each["body"]).decode() for each in plan["items"] if "body" in each}
        return pages.page(
            request,
            "replay.html",
            said.status,
            plan=plan,
            action=f"{request.url.path}?{request.url.query}",
            query=query,
            amounts=amounts,
            bodies=bodies,
            confirmation=Confirmation(replay_says(plan), _seen(plan), said.reason, said.fault),
        )

    @router.get("/orders/{order_id}/replay")
    async def plan_replay(request: Request, order_id: OrderId, query: Annotated[ReplayQuery, Query()]) -> Response:
        """The dry run: changes nothing."""
        return show(request, query, await planned(request, order_id, query))

    @router.post("/orders/{order_id}/replay")
    async def replay(request: Request, order_id: OrderId, query: Annotated[ReplayQuery, Query()]) -> Response:
        plan = await planned(request, order_id, query)
        said = form_input(form_of(request), _seen(plan))
        if said.fault is not None:
            return show(request, query, plan, said)
        asked = action_request(request, said.reason)
        try:
            await parts.replays.replay(order_id, query.mode, asked=asked, dry_run=False, options=query.options)
        except Refused as error:
            return show(request, query, plan, said.refused(error))
        return RedirectResponse(f"/orders/{order_id}?done={query.mode}", 303)

    return router


def _seen(plan: dict[str, Any]) -> str:
    """Of what matters: an attempt more or less doesn't."""
    if plan["mode"] == Mode.REPUBLISH:
        sent = [(each["version"], each["topic"], each["transactionId"]) for each in plan["items"]]
    else:
        sent = [(each["version"], each["key"], each["warning"]) for each in plan["items"]]
    kept = [each["version"] for each in plan["suppressed"]]
    return digest(plan["mode"], sent, kept, plan["amountAtRisk"])
