"""Orders that stand still: letting one go on, or giving up the call at which it stands."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import RedirectResponse, Response

from adapters.presentation.action_reports import parking_view
from adapters.presentation.views import parked_order
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
from adapters.web.console.sentences import retry_says, skip_says
from adapters.web.parameters import Id

OrderId = Annotated[Id, Path()]


def parked_router(parts: ConsoleParts, pages: Pages) -> APIRouter:
    router = APIRouter()

    async def show(request: Request, plan: dict[str, Any], said: FormInput = NO_INPUT) -> Response:
        rows = await parts.queries.parked(plan["orderId"], 1)
        parked = parked_order(rows[0]) if rows and rows[0].order_id == plan["orderId"] else None
        says = skip_says(plan) if plan["action"] == "skip" else retry_says(plan)
        confirmation = Confirmation(says, _seen(plan), said.reason, said.fault)
        return pages.page(request, "repair.html", said.status, plan=plan, parked=parked, confirmation=confirmation)

    @router.get("/parked/{order_id}/retry")
    async def plan_retry(request: Request, order_id: OrderId) -> Response:
        report = await parts.parking.retry(order_id, action_request(request), dry_run=True)
        return await show(request, parking_view(report))

    @router.post("/parked/{order_id}/retry")
    async def retry(request: Request, order_id: OrderId) -> Response:
        plan = parking_view(await parts.parking.retry(order_id, action_request(request), dry_run=True))
        said = form_input(form_of(request), _seen(plan))
        if said.fault is not None:
            return await show(request, plan, said)
        await parts.parking.retry(order_id, action_request(request, said.reason), dry_run=False)
        return RedirectResponse(f"/orders/{order_id}?done=retry", 303)

    @router.get("/parked/{order_id}/skip")
    async def plan_skip(request: Request, order_id: OrderId) -> Response:
        report = await parts.parking.skip(order_id, action_request(request), dry_run=True)
        return await show(request, parking_view(report))

    @router.post("/parked/{order_id}/skip")
    async def skip(request: Request, order_id: OrderId) -> Response:
        """The call that was shown, and no other."""
        plan = parking_view(await parts.parking.skip(order_id, action_request(request), dry_run=True))
        said = form_input(form_of(request), _seen(plan))
        if said.fault is not None:
            return await show(request, plan, said)
        asked, version = action_request(request, said.reason), plan["call"]["version"]
        try:
            await parts.parking.skip(order_id, asked, dry_run=False, version=version)
        except Refused as error:
            return await show(request, plan, said.refused(error))
        return RedirectResponse(f"/orders/{order_id}?done=skip", 303)

    return router


def _seen(plan: dict[str, Any]) -> str:
    call = plan["call"]
    return digest(
        plan["action"], plan["stateBefore"], call and call["version"], plan["followCount"], plan["warnings"]
    )
