"""Messages that could not be read: reading one again as it came, or edited, and discarding one."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import RedirectResponse, Response

from adapters.presentation.action_reports import quarantine_report_view
from adapters.records.errors import NotOpen, Refused, StillUnreadable, UnknownQuarantined
from adapters.records.quarantine import NO_EDIT, Edit, QuarantinedMessage
from adapters.web.console.confirmation import (
    Confirmation,
    action_request,
    digest,
    form_input,
    form_of,
    only_who_may_act,
)
from adapters.web.console.dependencies import ConsoleParts
from adapters.web.console.pages import Pages
from adapters.web.console.quarantine_edit import Fields, edit_of, fields_of
from adapters.web.console.sentences import quarantine_says
from adapters.web.parameters import Id

MessageId = Annotated[Id, Path()]


def quarantine_router(parts: ConsoleParts, pages: Pages) -> APIRouter:  # noqa: C901, PLR0915 - six small endpoints
    router = APIRouter()

    async def message_of(quarantine_id: int) -> QuarantinedMessage:
        message = await parts.queries.quarantined(quarantine_id)
        if message is None:
            raise UnknownQuarantined(quarantine_id)
        if message.row.state != "open":
            raise NotOpen(quarantine_id, message.row.state)
        return message

    async def planned(request: Request, quarantine_id: int, edit: Edit) -> dict[str, Any] | str:
        """Why it can't be read even so."""
        try:
            report = await parts.quarantining.retry(quarantine_id, action_request(request), edit=edit, dry_run=True)
        except StillUnreadable as error:
            return str(error)
        return quarantine_report_view(report)

    async def read_again(
        request: Request, message: QuarantinedMessage, edit: Edit, template: str, **shown: Any
    ) -> Response:
        """As far as it goes: the plan, what is wrong with what was given, or the action."""
        plan = await planned(request, message.row.id, edit)
        if isinstance(plan, str):
            context = shown | {"message": message, "unreadable": plan, "confirmation": None}
            return pages.page(request, template, 422 if request.method == "POST" else 200, **context)
        seen = _seen(plan, edit)
        says = quarantine_says(plan, is_edited=edit != NO_EDIT)
        status, confirmation = 200, Confirmation(says, seen)
        if request.method == "POST" and form_of(request).get("do") != "look":
            said = form_input(form_of(request), seen)
            fault, status = said.fault, said.status
            if fault is None:
                try:
                    asked = action_request(request, said.reason)
                    await parts.quarantining.retry(message.row.id, asked, edit=edit)
                except (Refused, StillUnreadable) as error:
                    fault, status = said.refused(error).fault, 409
                else:
                    return RedirectResponse(f"/quarantine/{message.row.id}?done=retried", 303)
            confirmation = Confirmation(says, seen, said.reason, fault)
        context = shown | {"message": message, "unreadable": None, "confirmation": confirmation}
        return pages.page(request, template, status, **context)

    @router.get("/quarantine/{quarantine_id}/retry")
    async def plan_retry(request: Request, quarantine_id: MessageId) -> Response:
        return await read_again(request, await message_of(quarantine_id), NO_EDIT, "read_again.html")

    @router.post("/quarantine/{quarantine_id}/retry")
    async def retry(request: Request, quarantine_id: MessageId) -> Response:
        return await read_again(request, await message_of(quarantine_id), NO_EDIT, "read_again.html")

    def edit_page(request: Request, message: QuarantinedMessage, shown: Fields, fault: str | None) -> Response:
        context = {"message": message, "fields": shown, "fault": fault, "unreadable": None, "confirmation": None}
        return pages.page(request, "edit.html", 422 if fault else 200, **context)

    @router.get("/quarantine/{quarantine_id}/edit")
    async def begin_edit(request: Request, quarantine_id: MessageId) -> Response:
        only_who_may_act(request)
        message = await message_of(quarantine_id)
        return edit_page(request, message, fields_of(message), None)

    @router.post("/quarantine/{quarantine_id}/edit")
    async def edit(request: Request, quarantine_id: MessageId) -> Response:
        """With `do=look` it is only shown what the edited message would come to."""
        message = await message_of(quarantine_id)
        written = edit_of(message, form_of(request))
        if written.fault is not None:
            return edit_page(request, message, written.fields, written.fault)
        return await read_again(request, message, written.edit, "edit.html", fields=written.fields, fault=None)

    @router.get("/quarantine/{quarantine_id}/discard")
    async def plan_discard(request: Request, quarantine_id: MessageId) -> Response:
        message = await message_of(quarantine_id)
        return pages.page(request, "discard.html", message=message, confirmation=_discarding(message))

    @router.post("/quarantine/{quarantine_id}/discard")
    async def discard(request: Request, quarantine_id: MessageId) -> Response:
        message = await message_of(quarantine_id)
        plan = _discarding(message)
        said = form_input(form_of(request), plan.seen)
        if said.fault is not None:
            again = Confirmation(plan.says, plan.seen, said.reason, said.fault)
            return pages.page(request, "discard.html", said.status, message=message, confirmation=again)
        await parts.quarantining.discard(quarantine_id, action_request(request, said.reason))
        return RedirectResponse(f"/quarantine/{quarantine_id}?done=discarded", 303)

    return router


def _discarding(message: QuarantinedMessage) -> Confirmation:
    row = message.row
    whose = "whose order can't be told" if row.order_id is None else f"of order {row.order_id}"
    says = (
        f"Message {row.id}, {whose}, is laid aside for good: nothing is decided from it, and nobody is called.",
        "It can't be read again later. What came is kept, and can still be looked at.",
    )
    return Confirmation(says, digest(row.id, row.state))


def _seen(plan: dict[str, Any], edit: Edit) -> str:
    written = [None if each is None else each.decode("utf-8", "replace") for each in (edit.key, edit.value)]
    headers = None if edit.headers is None else [(name, str(value)) for name, value in edit.headers]
    return digest(plan["orderId"], plan["type"], plan["decisions"], written, headers)
