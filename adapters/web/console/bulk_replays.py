"""Replays of many orders: a preview that freezes the set, and its start."""

import re
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from pydantic import ValidationError
from starlette.responses import RedirectResponse, Response

from adapters.records.jobs import (
    BULK,
    DEFAULT_RATE_PER_SECOND,
    MAX_RATE_PER_SECOND,
    MIN_RATE_PER_SECOND,
    BulkMode,
    Job,
    JobRefused,
    Preview,
    TooManyOrders,
)
from adapters.web.bulk_requests import BulkRequest
from adapters.web.console.confirmation import NOT_CONFIRMED, form_of, only_who_may_act, operator_of
from adapters.web.console.dependencies import ConsoleParts
from adapters.web.console.pages import Pages
from adapters.web.console.parameters import NewReplayQuery, order_ids
from adapters.web.console.sentences import bulk_says
from domain.events import Doubt
from domain.lifecycle import Status
from projections.redelivery import How, Include

_MOMENTS: Final = {
    "changed_from": "changedFrom",
    "changed_to": "changedTo",
    "parked_from": "parkedFrom",
    "parked_to": "parkedTo",
    "doubtful_from": "doubtfulFrom",
    "doubtful_to": "doubtfulTo",
    "held_from": "heldFrom",
    "held_to": "heldTo",
}
_AMOUNTS: Final = {"at_stake_min": "atStakeMin", "at_stake_max": "atStakeMax"}
_MINUTE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")


def bulk_router(parts: ConsoleParts, pages: Pages) -> APIRouter:
    router = APIRouter()

    def show_form(request: Request, fields: dict[str, str], fault: str | None) -> Response:
        return pages.page(
            request,
            "new_replay.html",
            422 if fault else 200,
            fields={"mode": BulkMode.REDELIVER, "rate": f"{DEFAULT_RATE_PER_SECOND:g}"} | fields,
            fault=fault,
            modes=list(BulkMode),
            statuses=list(Status),
            doubts=list(Doubt),
            rates=(MIN_RATE_PER_SECOND, MAX_RATE_PER_SECOND),
        )

    def show_preview(
        request: Request, replay: Job, token: str, preview: Preview | None, fault: str | None = None
    ) -> Response:
        context = {"replay": replay, "token": token, "preview": preview, "fault": fault, "says": bulk_says(replay)}
        return pages.page(request, "bulk_preview.html", 422 if fault else 200, **context)

    @router.get("/replays/new")
    async def new_replay(request: Request, query: Annotated[NewReplayQuery, Query()]) -> Response:
        only_who_may_act(request)
        return show_form(request, query.model_dump(exclude_defaults=True, mode="json"), None)

    @router.post("/replays/new")
    async def preview_replay(request: Request) -> Response:
        """What would be done; nothing is, until the preview is started. Its token is on this page alone."""
        form = form_of(request)
        try:
            fields = BulkRequest.model_validate(fields_of(form))
            preview = await parts.jobs.preview(
                fields.mode, fields.select.selection, fields.rate_per_second, fields.reason.strip(), fields.options
            )
        except ValidationError as error:
            return show_form(request, form, _faults(error))
        except (ValueError, TooManyOrders) as error:
            return show_form(request, form, f"{error}.")
        return show_preview(request, preview.replay, preview.token, preview)

    @router.post("/replays/{replay_id}/start")
    async def start(request: Request, replay_id: Annotated[UUID, Path()]) -> Response:
        form = form_of(request)
        token = form.get("token", "")
        if form.get("confirmed") != "yes":
            return show_preview(request, await parts.jobs.get(replay_id, BULK), token, None, NOT_CONFIRMED)
        try:
            await parts.jobs.start(replay_id, token, by=operator_of(request))
        except JobRefused as error:
            job = await parts.jobs.get(replay_id, BULK)
            return show_preview(request, job, token, None, f"Not started: {error}.")
        return RedirectResponse(f"/jobs/{replay_id}", 303)

    return router


def fields_of(form: dict[str, str]) -> dict[str, Any]:
    """As the API takes it. Raises ValueError."""
    select: dict[str, Any] = {
        wire: _moment(form[name]) for name, wire in _MOMENTS.items() if form.get(name, "").strip()
    }
    if orders := order_ids(form.get("orders", "")):
        select["orders"] = orders
    select |= {wire: form[name].strip() for name, wire in _AMOUNTS.items() if form.get(name, "").strip()}
    if form.get("status"):
        select["status"] = form["status"]
    if form.get("doubt"):
        select["doubt"] = form["doubt"]
    if form.get("doubtful") or form.get("mode") == BulkMode.SETTLE:
        select["doubtful"] = True
    if form.get("held") or form.get("mode") == BulkMode.RELEASE:
        select["held"] = True
    if form.get("parked") or form.get("mode") == BulkMode.RETRY:
        select["parked"] = True
    if form.get("parked_reason", "").strip():
        select["parkedReason"] = form["parked_reason"].strip()
    fields: dict[str, Any] = {"mode": form.get("mode", ""), "select": select, "reason": form.get("reason", "")}
    try:
        fields["ratePerSecond"] = float(form.get("rate", ""))
    except ValueError:
        raise ValueError("Say how many orders a second, as a number") from None
    if form.get("mode") == BulkMode.REDELIVER:
        fields["how"] = form.get("how", How.FORCE)
        fields["nonce"] = form.get("nonce", "").strip() or None
        fields["include"] = [each for each in Include if form.get(f"include_{each}")]
    return fields


def _moment(text: str) -> str:
    """What a field for date and time gives is UTC here; anything else must say so itself."""
    text = text.strip()
    if _MINUTE.fullmatch(text):
        text += ":00"
    return text if text.upper().endswith("Z") or "+" in text else f"{text}Z"


def _faults(error: ValidationError) -> str:
    faults = [(each["loc"], str(each["msg"]).removeprefix("Value error, ")) for each in error.errors()]
    said = [f"{'.'.join(map(str, place))}: {text}" if place else text for place, text in faults]
    return f"{'; '.join(said)}."
