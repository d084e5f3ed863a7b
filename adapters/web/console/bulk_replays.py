"""Replays of many orders: a preview that freezes the set, and its start."""

import re
from typing import Annotated, Any, Final, get_args
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from pydantic import ValidationError
from starlette.responses import RedirectResponse, Response

from adapters.records.differences import DifferenceClass
from adapters.records.jobs import (
    DEFAULT_RATE_PER_SECOND,
    MAX_RATE_PER_SECOND,
    MIN_RATE_PER_SECOND,
    BulkMode,
    JobRefused,
    OtherThings,
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
_TEXTS: Final = {
    "parked_reason": "parkedReason",
    "difference": "difference",
    "quarantine_reason": "quarantineReason",
    "quarantine_topic": "quarantineTopic",
}
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
            differences=get_args(DifferenceClass),
            rates=(MIN_RATE_PER_SECOND, MAX_RATE_PER_SECOND),
        )

    @router.get("/replays/new")
    async def new_replay(request: Request, query: Annotated[NewReplayQuery, Query()]) -> Response:
        only_who_may_act(request)
        return show_form(request, query.model_dump(exclude_defaults=True, mode="json"), None)

    @router.post("/replays/new")
    async def preview_replay(request: Request) -> Response:
        """What would be done; nothing is, until the preview is started, here or from its address."""
        form = form_of(request)
        try:
            fields = BulkRequest.model_validate(fields_of(form))
            preview = await parts.jobs.preview(
                fields.mode, fields.select.selection, fields.rate_per_second, fields.reason.strip(), fields.options
            )
        except ValidationError as error:
            return show_form(request, form, _faults(error))
        except (ValueError, TooManyOrders, OtherThings) as error:
            return show_form(request, form, f"{error}.")
        return show_preview(pages, request, preview)

    @router.post("/replays/{replay_id}/start")
    async def start(request: Request, replay_id: Annotated[UUID, Path()]) -> Response:
        if form_of(request).get("confirmed") != "yes":
            return show_preview(pages, request, await parts.jobs.previewed(replay_id), NOT_CONFIRMED)
        try:
            await parts.jobs.start(replay_id, None, by=operator_of(request))
        except JobRefused as error:
            preview = await parts.jobs.previewed(replay_id)
            return show_preview(pages, request, preview, f"Not started: {error}.")
        return RedirectResponse(f"/jobs/{replay_id}", 303)

    return router


def show_preview(pages: Pages, request: Request, preview: Preview, fault: str | None = None) -> Response:
    """What would be done, with the form that starts it. The set is frozen, so whoever opens it sees what was
    previewed."""
    context = {"replay": preview.replay, "preview": preview, "fault": fault, "says": bulk_says(preview.replay)}
    return pages.page(request, "bulk_preview.html", 422 if fault else 200, **context)


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
    select |= {wire: form[name].strip() for name, wire in _TEXTS.items() if form.get(name, "").strip()}
    if form.get("mode", "").startswith("quarantine_"):
        select["quarantined"] = True
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
