"""What a person decides about one order: its doubts are settled, or what its held messages wait for is given up."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import RedirectResponse, Response

from adapters.presentation.action_reports import intervention_view
from adapters.records.actions import ActionRequest
from adapters.records.errors import OrderChanged, Refused
from adapters.records.operators import ActionKind
from adapters.records.orders import OrderRecord
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
from adapters.web.console.parameters import ReleaseQuery
from adapters.web.console.sentences import release_says, settle_says
from adapters.web.parameters import Id

OrderId = Annotated[Id, Path()]


def deciding_router(parts: ConsoleParts, pages: Pages) -> APIRouter:
    router = APIRouter()

    def show(request: Request, plan: dict[str, Any], said: FormInput = NO_INPUT, numbers: str = "") -> Response:
        says = settle_says(plan) if plan["action"] == ActionKind.SETTLE else release_says(plan)
        return pages.page(
            request,
            "decide.html",
            said.status,
            plan=plan,
            numbers=numbers,
            action=f"{request.url.path}?{request.url.query}",
            confirmation=Confirmation(says, _seen(plan), said.reason, said.fault),
        )

    @router.get("/orders/{order_id}/settle")
    async def plan_settle(request: Request, order_id: OrderId) -> Response:
        report = await parts.interventions.settle(order_id, action_request(request), dry_run=True)
        return show(request, intervention_view(report))

    @router.post("/orders/{order_id}/settle")
    async def settle(request: Request, order_id: OrderId) -> Response:
        """The doubts that were shown, and no others."""
        plan = intervention_view(await parts.interventions.settle(order_id, action_request(request), dry_run=True))
        said = form_input(form_of(request), _seen(plan))
        if said.fault is not None:
            return show(request, plan, said)
        try:
            await parts.interventions.settle(order_id, _as_shown(action_request(request, said.reason), plan))
        except (Refused, OrderChanged) as error:
            return show(request, plan, said.refused(error))
        return RedirectResponse(f"/orders/{order_id}?done=settle", 303)

    @router.get("/orders/{order_id}/release")
    async def plan_release(
        request: Request, order_id: OrderId, query: Annotated[ReleaseQuery, Query()]
    ) -> Response:
        report = await parts.interventions.release(
            order_id, action_request(request), numbers=query.wanted, dry_run=True
        )
        return show(request, intervention_view(report), numbers=query.numbers or "")

    @router.post("/orders/{order_id}/release")
    async def release(request: Request, order_id: OrderId, query: Annotated[ReleaseQuery, Query()]) -> Response:
        numbers, shown = query.wanted, query.numbers or ""
        report = await parts.interventions.release(order_id, action_request(request), numbers=numbers, dry_run=True)
        plan = intervention_view(report)
        said = form_input(form_of(request), _seen(plan))
        if said.fault is not None:
            return show(request, plan, said, shown)
        asked = _as_shown(action_request(request, said.reason), plan)
        try:
            await parts.interventions.release(order_id, asked, numbers=numbers)
        except (Refused, OrderChanged) as error:
            return show(request, plan, said.refused(error), shown)
        return RedirectResponse(f"/orders/{order_id}?done=release", 303)

    return router


def _as_shown(asked: ActionRequest, plan: dict[str, Any]) -> ActionRequest:
    """Nothing has been decided about the order since the plan was made."""
    version: int = plan["events"][0]["version"] - 1

    def precondition(record: OrderRecord) -> bool:
        return record.events[-1].originator_version == version

    return replace(asked, precondition=precondition)


def _seen(plan: dict[str, Any]) -> str:
    """Of what matters: an attempt more or less doesn't."""
    decided = [(each["version"], each["event"]) for each in plan["events"]]
    calls = [(each["version"], each["key"]) for each in plan["calls"]]
    return digest(plan["action"], decided, calls, plan["cashbackAfter"], plan["warnings"])
