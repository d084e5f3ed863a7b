"""What callers may ask for. A parameter or a member that we don't know is an error, not a wish ignored."""

import re
from typing import Annotated, Any, Final, Self

from fastapi import Request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException

from adapters.operators import MAX_REASON_LENGTH
from adapters.postgres.queries import QuarantineState
from domain.identifiers import MAX_ORDER_ID
from domain.lifecycle import Status
from projections.redelivery import DEFAULT_WISH, MAX_NONCE_LENGTH, How, Include, Wish, is_nonce
from projections.replay import Mode

MAX_PAGE: Final = 200
DEFAULT_PAGE: Final = 50
MAX_TEXT_LENGTH: Final = 256


def decimal(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,19}", value):
        raise ValueError("must be a whole number in decimal")
    return value


def storable(text: str) -> str:
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must not hold the character U+0000 or half a surrogate pair")
    return text


def absent_if_empty(value: Any) -> Any:
    return None if value == "" else value


_Empty = BeforeValidator(absent_if_empty)
_Text = Annotated[str, Field(max_length=MAX_TEXT_LENGTH), AfterValidator(storable)]
Id = Annotated[int, BeforeValidator(decimal), Field(ge=1, le=MAX_ORDER_ID)]


class PageQuery(BaseModel):
    """A page of a list. An empty parameter counts as absent."""

    model_config = ConfigDict(extra="forbid")

    cursor: Annotated[_Text | None, _Empty, Field(description="`next` of the page before")] = None
    limit: Annotated[int, BeforeValidator(decimal), Field(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE


class OrdersQuery(PageQuery):
    status: Annotated[Status | None, _Empty] = None
    buyer: Annotated[_Text | None, _Empty] = None
    doubtful: Annotated[bool | None, _Empty] = None
    held: Annotated[bool | None, _Empty] = None


class QuarantineQuery(PageQuery):
    state: Annotated[QuarantineState | None, _Empty] = None


def _nonce(text: str | None) -> str | None:
    if text is not None and not is_nonce(text):
        raise ValueError(f"must be 1 to {MAX_NONCE_LENGTH} visible ASCII characters")
    return text


class WishRequest(BaseModel):
    """Of redeliveries: how much is sent again, and under which keys."""

    model_config = ConfigDict(extra="forbid", strict=True)

    how: Annotated[How, Field(strict=False, description="`resume`: only what is missing")] = DEFAULT_WISH.how
    nonce: Annotated[str | None, AfterValidator(_nonce), Field(description="for new keys")] = None
    include: Annotated[
        list[Annotated[Include, Field(strict=False)]],
        Field(max_length=len(Include), description="what is left out unless it is named here"),
    ] = Field(default_factory=list)

    @property
    def wish(self) -> Wish:
        return Wish(self.how, self.nonce, frozenset(self.include))


class ReplayRequest(WishRequest):
    """`reason` is needed unless `dryRun` is true; `how`, `nonce` and `include` are for the mode `redeliver`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    mode: Annotated[Mode, Field(strict=False)]
    dry_run: Annotated[bool, Field(alias="dryRun")] = False
    reason: Annotated[str, Field(max_length=MAX_REASON_LENGTH), AfterValidator(storable)] | None = None

    @model_validator(mode="after")
    def _has_a_reason(self) -> Self:
        if not self.dry_run and not (self.reason or "").strip():
            raise ValueError("a replay that isn't a dry run needs a reason")
        if self.mode is not Mode.REDELIVER and self.wish != DEFAULT_WISH:
            raise ValueError("how, nonce and include are for the mode redeliver")
        return self


def json_if_any(request: Request) -> None:
    """A body may be left out."""
    if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
        json_only(request)


def json_only(request: Request) -> None:
    """A body in another form is a 415."""
    media_type, _, _ = request.headers.get("content-type", "").partition(";")
    if media_type.strip().lower() != "application/json":
        raise HTTPException(415, "the body must be application/json", {"Accept": "application/json"})
