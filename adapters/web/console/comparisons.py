"""Comparing orders with the third party's books: asking for it, and what came of it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from adapters.operations.reconciliation.comparisons import (
    DEFAULT_RATE_PER_SECOND,
    MAX_CHOSEN,
    MAX_RATE_PER_SECOND,
    MIN_RATE_PER_SECOND,
)
from adapters.records.comparisons import AlreadyComparing, Comparison
from adapters.web.console.confirmation import action_request, digest, form_input, form_of, only_who_may_act
from adapters.web.console.dependencies import Comparisons, ConsoleParts
from adapters.web.console.pages import Pages
from adapters.web.console.parameters import CompareQuery, order_ids
from adapters.web.console.sentences import lasting

_SEEN = digest("compare")


def comparing_router(parts: ConsoleParts, pages: Pages) -> APIRouter:
    router = APIRouter()

    def comparisons() -> Comparisons:
        if parts.comparisons is None:
            raise HTTPException(409, "the third party can't be asked: CASHBACK_THIRD_PARTY_LOOKUPS is false")
        return parts.comparisons

    async def show_form(
        request: Request, fields: dict[str, str], fault: str | None = None, status: int = 200
    ) -> Response:
        total = await comparisons().count()
        return pages.page(
            request,
            "compare.html",
            status,
            fields={"rate": f"{DEFAULT_RATE_PER_SECOND:g}", "orders": "", "reason": ""} | fields,
            fault=fault,
            seen=_SEEN,
            total=total,
            lasting=lasting(total, DEFAULT_RATE_PER_SECOND),
            max_chosen=MAX_CHOSEN,
            rates=(MIN_RATE_PER_SECOND, MAX_RATE_PER_SECOND),
        )

    @router.get("/reconciliation/compare")
    async def ask(request: Request, query: Annotated[CompareQuery, Query()]) -> Response:
        only_who_may_act(request)
        return await show_form(request, {"orders": query.orders})

    @router.post("/reconciliation/compare")
    async def start(request: Request) -> Response:
        form = form_of(request)
        said = form_input(form, _SEEN)
        try:
            orders, rate = _chosen(form), _rate(form)
        except ValueError as error:
            return await show_form(request, form, f"{error}.", 422)
        if said.fault is not None:
            return await show_form(request, form, said.fault, said.status)
        try:
            comparison_id = await comparisons().start(orders, rate, action_request(request, said.reason))
        except AlreadyComparing as error:
            return await show_form(request, form, f"Not started: {error}.", 409)
        return RedirectResponse(f"/reconciliation/runs/{comparison_id}", 303)

    @router.get("/reconciliation/runs/{comparison_id}")
    async def show(request: Request, comparison_id: Annotated[UUID, Path()]) -> Response:
        return pages.page(request, "comparison.html", comparison=await _found(comparisons(), comparison_id))

    @router.post("/reconciliation/runs/{comparison_id}/cancel")
    async def cancel(request: Request, comparison_id: Annotated[UUID, Path()]) -> Response:
        """Without a question: it is the brake. The record has the reason of the comparison."""
        comparison = await _found(comparisons(), comparison_id)
        await comparisons().cancel(comparison_id, action_request(request, comparison.reason))
        return RedirectResponse(f"/reconciliation/runs/{comparison_id}", 303)

    return router


async def _found(comparisons: Comparisons, comparison_id: UUID) -> Comparison:
    comparison = await comparisons.get(comparison_id)
    if comparison is None:
        raise HTTPException(404, "there is no such comparison, or not any more")
    return comparison


def _chosen(form: dict[str, str]) -> list[int] | None:
    """None: all. Raises ValueError."""
    orders = order_ids(form.get("orders", ""))
    if form.get("which") == "all":
        return None
    if not orders:
        raise ValueError("Name the orders, or choose all")
    if len(set(orders)) > MAX_CHOSEN:
        raise ValueError(f"More than {MAX_CHOSEN} orders are named: choose all, or fewer")
    return orders


def _rate(form: dict[str, str]) -> float:
    """Raises ValueError."""
    try:
        rate = float(form.get("rate", ""))
    except ValueError:
        rate = 0.0
    if not MIN_RATE_PER_SECOND <= rate <= MAX_RATE_PER_SECOND:
        raise ValueError(f"The rate must be {MIN_RATE_PER_SECOND:g} to {MAX_RATE_PER_SECOND:g} a second")
    return rate
