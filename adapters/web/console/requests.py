"""What the console's addresses may say. An empty parameter counts as absent, an unknown one is refused."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from adapters.postgres.queries import QuarantineState
from adapters.postgres.reconciliation import DifferenceClass, DifferenceState
from adapters.web.requests import MAX_TEXT_LENGTH, Id, storable
from domain.lifecycle import Status
from projections.replay import Mode

_Empty = BeforeValidator(lambda value: None if value == "" else value)
_Text = Annotated[str, Field(max_length=MAX_TEXT_LENGTH), AfterValidator(storable), AfterValidator(str.strip)]
_Flag = Annotated[bool, BeforeValidator(lambda value: value not in {"", "0", "false"})]


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OrdersQuery(_Query):
    """`below` and `above` are where a page begins: an order id, included."""

    status: Annotated[Status | None, _Empty] = None
    buyer: Annotated[_Text | None, _Empty] = None
    held: _Flag = False
    doubtful: _Flag = False
    parked: _Flag = False
    below: Annotated[Id | None, _Empty] = None
    above: Annotated[Id | None, _Empty] = None


class SearchQuery(_Query):
    q: _Text = ""


class CursorQuery(_Query):
    cursor: Annotated[_Text | None, _Empty] = None


class QuarantineQuery(CursorQuery):
    state: Annotated[QuarantineState | Literal["all"], _Empty] = "open"


class DifferencesQuery(CursorQuery):
    state: DifferenceState = "open"
    verdict: Annotated[DifferenceClass | None, Field(alias="class"), _Empty] = None


class AuditQuery(CursorQuery):
    order: Annotated[Id | None, _Empty] = None


class OrderQuery(_Query):
    """`done` is the replay that was just begun, for the word about it."""

    done: Annotated[UUID | None, _Empty] = None


class ReplayQuery(_Query):
    mode: Mode


class SignInQuery(_Query):
    next: _Text = "/"
