"""The endpoint of the day's statement."""

from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from adapters.operations.ports import Statements
from adapters.presentation.schemas import StatementView
from adapters.presentation.statement import statement_view
from adapters.web.auth import TOKEN
from adapters.web.openapi import read_problems
from adapters.web.parameters import Day, Empty
from adapters.web.responses import ExactJson
from domain.money import Till

_DAY: Final = "of UTC; the last one that is over unless given"


class StatementQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    day: Annotated[Day | None, Empty, Field(description=_DAY)] = None


def statement_router(statements: Statements, till: Till) -> APIRouter:
    router = APIRouter(prefix="/api/statement", tags=["statement"], dependencies=[TOKEN])

    @router.get("", response_model=StatementView, responses=read_problems(409))
    async def get_statement(query: Annotated[StatementQuery, Query()]) -> ExactJson:
        """What moved on one day, as double entry; 409 for a day that hasn't begun."""
        statement = await statements.statement(query.day or await statements.last_day())
        return ExactJson(statement_view(statement, till))

    return router
