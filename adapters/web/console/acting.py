"""What an operator can do from the pages. Each deed is shown first, wants a reason, and is written down."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import RedirectResponse, Response

from adapters.operators import MAX_REASON_LENGTH, Asked, Operator, Via
from adapters.web.console.pages import Pages
from adapters.web.console.parts import ConsoleParts
from adapters.web.console.requests import ReplayQuery
from adapters.web.requests import Id
from projections.replay import Mode

NOBODY = "console"
"""The name of whoever needn't sign in."""


def acting_router(parts: ConsoleParts, pages: Pages) -> APIRouter:
    router = APIRouter()

    async def show_plan(
        request: Request, order_id: int, mode: Mode, *, reason: str = "", fault: str | None = None
    ) -> Response:
        asked = Asked(_operator(request), "")
        report = await parts.replays.replay(order_id, mode, asked=asked, dry_run=True)
        return pages.page(
            request, "replay.html", 422 if fault else 200, plan=report.as_json(), reason=reason, fault=fault
        )

    @router.get("/orders/{order_id}/replay")
    async def plan_replay(
        request: Request, order_id: Annotated[Id, Path()], query: Annotated[ReplayQuery, Query()]
    ) -> Response:
        """The dry run: changes nothing."""
        return await show_plan(request, order_id, query.mode)

    @router.post("/orders/{order_id}/replay")
    async def replay(
        request: Request, order_id: Annotated[Id, Path()], query: Annotated[ReplayQuery, Query()]
    ) -> Response:
        form: dict[str, str] = request.state.form
        reason = form.get("reason", "").strip()
        if not reason or len(reason) > MAX_REASON_LENGTH:
            fault = f"Say why, in 1 to {MAX_REASON_LENGTH} characters."
            return await show_plan(request, order_id, query.mode, reason=reason[:MAX_REASON_LENGTH], fault=fault)
        if form.get("confirmed") != "yes":
            fault = "Confirm that you have read what will be sent."
            return await show_plan(request, order_id, query.mode, reason=reason, fault=fault)
        asked = Asked(_operator(request), reason)
        report = await parts.replays.replay(order_id, query.mode, asked=asked, dry_run=False)
        return RedirectResponse(f"/orders/{order_id}?done={report.replay_id}", 303)

    @router.post("/replays/{replay_id}/cancel")
    async def cancel_bulk(request: Request, replay_id: Annotated[UUID, Path()]) -> Response:
        await parts.bulk.cancel(replay_id, by=_operator(request))
        return RedirectResponse(f"/replays/{replay_id}", 303)

    return router


def _operator(request: Request) -> Operator:
    return Operator(request.state.session.name or NOBODY, Via.API)
