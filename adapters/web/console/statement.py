"""The day's statement, and its two files."""

from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from adapters.presentation.statement import (
    COUNTED,
    CSV_TYPE,
    file_name,
    statement_csv,
    statement_rows,
    statement_view,
)
from adapters.records.statement import Account
from adapters.web.console.dependencies import ConsoleParts
from adapters.web.console.pages import Pages
from adapters.web.console.parameters import StatementPageQuery
from adapters.web.responses import ExactJson

PATH: Final = "/statement"


def statement_router(parts: ConsoleParts, pages: Pages) -> APIRouter:
    router = APIRouter()

    @router.get(PATH)
    async def show_statement(request: Request, query: Annotated[StatementPageQuery, Query()]) -> Response:
        last = await parts.statements.last_day()
        statement = await parts.statements.statement(query.day or last)
        if query.form == "csv":
            text = statement_csv(statement, parts.till)
            return Response(text, media_type=CSV_TYPE, headers=_saved(file_name(statement, "csv")))
        if query.form == "json":
            return ExactJson(statement_view(statement, parts.till), headers=_saved(file_name(statement, "json")))
        return pages.page(
            request,
            "statement.html",
            statement=statement,
            rows=list(statement_rows(statement, parts.till)),
            accounts=list(Account),
            counted=COUNTED,
            currency=parts.till.currency,
            prev=f"{PATH}?day={statement.day - timedelta(days=1)}",
            next=f"{PATH}?day={statement.day + timedelta(days=1)}" if statement.day <= last else None,
        )

    return router


def _saved(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}
