"""The endpoint of the record of what people did."""

from typing import Annotated

from fastapi import APIRouter, Query

from adapters.operations.ports import Actions
from adapters.presentation.paging import ACTIONS
from adapters.presentation.views import action_view
from adapters.web.api.action_schemas import AuditPage, AuditQuery
from adapters.web.auth import TOKEN
from adapters.web.openapi import read_problems
from adapters.web.responses import ExactJson


def audit_router(actions: Actions) -> APIRouter:
    router = APIRouter(prefix="/api/audit", tags=["audit"], dependencies=[TOKEN])

    @router.get("", response_model=AuditPage, responses=read_problems())
    async def list_actions(query: Annotated[AuditQuery, Query()]) -> ExactJson:
        """What people did, the last thing first; with `order` only what was done to that order."""
        rows = await actions.page(query.order, ACTIONS.start(query.cursor), query.limit + 1)
        page, following = ACTIONS.cut(rows, query.limit)
        return ExactJson({"actions": [action_view(row) for row in page], "next": following})

    return router
