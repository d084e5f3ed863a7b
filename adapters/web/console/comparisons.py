"""Comparing orders with the third party's books: the form that starts it."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from adapters.operations.ports import Jobs
from adapters.records.jobs import (
    DEFAULT_RATE_PER_SECOND,
    MAX_COMPARED_ORDERS,
    MAX_RATE_PER_SECOND,
    MIN_RATE_PER_SECOND,
    AlreadyComparing,
)
from adapters.web.console.confirmation import action_request, digest, form_input, form_of, only_who_may_act
from adapters.web.console.dependencies import ConsoleParts
from adapters.web.console.pages import Pages
from adapters.web.console.parameters import CompareQuery, order_ids
from adapters.web.console.sentences import lasting

_SEEN = digest("compare")


def comparing_router(parts: ConsoleParts, pages: Pages) -> APIRouter:
    router = APIRouter()

    def jobs() -> Jobs:
        if not parts.may_compare:
            raise HTTPException(409, "the third party can't be asked: CASHBACK_THIRD_PARTY_LOOKUPS is false")
        return parts.jobs

    async def show_form(
        request: Request, fields: dict[str, str], fault: str | None = None, status: int = 200
    ) -> Response:
        total = await jobs().count()
        return pages.page(
            request,
            "compare.html",
            status,
            fields={"rate": f"{DEFAULT_RATE_PER_SECOND:g}", "orders": "", "reason": ""} | fields,
            fault=fault,
            seen=_SEEN,
            total=total,
            lasting=lasting(total, DEFAULT_RATE_PER_SECOND),
            max_chosen=MAX_COMPARED_ORDERS,
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
            job_id = await jobs().compare(orders, rate, action_request(request, said.reason))
        except AlreadyComparing as error:
            return await show_form(request, form, f"Not started: {error}.", 409)
        return RedirectResponse(f"/jobs/{job_id}", 303)

    return router


def _chosen(form: dict[str, str]) -> list[int] | None:
    """None: all. Raises ValueError."""
    orders = order_ids(form.get("orders", ""))
    if form.get("which") == "all":
        return None
    if not orders:
        raise ValueError("Name the orders, or choose all")
    if len(set(orders)) > MAX_COMPARED_ORDERS:
        raise ValueError(f"More than {MAX_COMPARED_ORDERS} orders are named: choose all, or fewer")
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
