"""What callers may ask for. A parameter or a member that we don't know is an error, and never ignored."""

import re
from datetime import date
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core.core_schema import CoreSchema, no_info_before_validator_function
from starlette.exceptions import HTTPException
from starlette.requests import Request

from adapters.presentation.paging import cursor_pattern
from adapters.records.operators import MAX_REASON_LENGTH
from adapters.records.quarantine import QuarantineState
from adapters.records.statement import MAX_YEAR, MIN_YEAR
from domain.identifiers import MAX_ORDER_ID
from domain.lifecycle import Status
from projections.redelivery import DEFAULT_OPTIONS, MAX_NONCE_LENGTH, How, Include, RedeliveryOptions, is_nonce
from projections.republication import Mode

MAX_PAGE: Final = 200
DEFAULT_PAGE: Final = 50
MAX_TEXT_LENGTH: Final = 256


def decimal(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,19}", value):
        raise ValueError("must be a whole number in decimal")
    return value


def whole(value: Any) -> Any:
    """In JSON, 1.0 is a whole number too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def storable(text: str) -> str:
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must not hold the character U+0000 or half a surrogate pair")
    return text


class _EmptyIsAbsent:
    """An empty parameter counts as absent, and the description says so."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_before_validator_function(lambda value: None if value == "" else value, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = handler(schema)
        some = [each for each in described.get("anyOf", [described]) if each != {"type": "null"}]
        return {"anyOf": [*some, {"type": "string", "const": ""}]}


Empty: Final = _EmptyIsAbsent()
NEXT: Final = "`next` of the page before"
MISMATCH: Final = "an open difference from the third party's books: missing there, or in amount or state"


def like_cursor(kind: str) -> WithJsonSchema:
    """For the description: `Paging.start` looks at it."""
    return WithJsonSchema({"type": "string", "pattern": cursor_pattern(kind)})


def text_like(max_length: int, pattern: str = r"^[^\u0000]*$") -> WithJsonSchema:
    """For the description of a text that is `storable`."""
    return WithJsonSchema({"type": "string", "maxLength": max_length, "pattern": pattern})


Text = Annotated[str, Field(max_length=MAX_TEXT_LENGTH), AfterValidator(storable), text_like(MAX_TEXT_LENGTH)]
Reason = Annotated[str, Field(max_length=MAX_REASON_LENGTH), AfterValidator(storable), text_like(MAX_REASON_LENGTH)]
SAID: Final[dict[str, Any]] = {
    "properties": {"reason": {"type": "string", "pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$"}},
    "required": ["reason"],
}
SAID_OR_DRY_RUN: Final[dict[str, Any]] = {
    "anyOf": [SAID, {"properties": {"dryRun": {"const": True}}, "required": ["dryRun"]}]
}
FOR_REDELIVERIES: Final[dict[str, Any]] = {
    "anyOf": [
        {"properties": {"mode": {"const": Mode.REDELIVER.value}}},
        {
            "properties": {
                "how": {"const": DEFAULT_OPTIONS.how.value},
                "nonce": {"type": "null"},
                "include": {"type": "array", "maxItems": 0},
            }
        },
    ]
}
"""What the validators of whole models ask for, in the words of JSON Schema."""
Id = Annotated[int, Field(ge=1, le=MAX_ORDER_ID), BeforeValidator(decimal)]
"""In an address."""
Number = Annotated[int, Field(ge=1, le=MAX_ORDER_ID), BeforeValidator(whole)]
"""In a body."""
_DAY_PATTERN: Final = r"^(19[7-9]\d|2[01]\d\d|22[0-5]\d|226[01])-\d\d-\d\d$"


def _written_as_day(value: Any) -> Any:
    """Pydantic would take numbers for seconds since 1970."""
    if isinstance(value, str) and not re.fullmatch(_DAY_PATTERN, value, re.ASCII):
        raise ValueError(f"must be a day from {MIN_YEAR} to {MAX_YEAR}, YYYY-MM-DD")
    return value


Day = Annotated[
    date,
    BeforeValidator(_written_as_day),
    WithJsonSchema({"type": "string", "format": "date", "pattern": _DAY_PATTERN}),
]


class PageQuery(BaseModel):
    """A page of a list."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE), BeforeValidator(decimal)] = DEFAULT_PAGE


class OrdersQuery(PageQuery):
    cursor: Annotated[Annotated[str, like_cursor("orders")] | None, Empty, Field(description=NEXT)] = None
    status: Annotated[Status | None, Empty] = None
    buyer: Annotated[Text | None, Empty] = None
    doubtful: Annotated[bool | None, Empty] = None
    held: Annotated[bool | None, Empty] = None
    mismatch: Annotated[bool | None, Empty, Field(description=MISMATCH)] = None


class ParkedQuery(PageQuery):
    cursor: Annotated[Annotated[str, like_cursor("parked")] | None, Empty, Field(description=NEXT)] = None
    reason: Annotated[Text | None, Empty] = None


class BulkQuery(PageQuery):
    cursor: Annotated[Annotated[str, like_cursor("replays")] | None, Empty, Field(description=NEXT)] = None


class QuarantineQuery(PageQuery):
    cursor: Annotated[Annotated[str, like_cursor("quarantine")] | None, Empty, Field(description=NEXT)] = None
    state: Annotated[QuarantineState | None, Empty] = None
    reason: Annotated[Text | None, Empty] = None
    topic: Annotated[Text | None, Empty] = None


def checked_nonce(text: str) -> str:
    if not is_nonce(text):
        raise ValueError(f"must be 1 to {MAX_NONCE_LENGTH} visible ASCII characters")
    return text


_Nonce = Annotated[
    str,
    AfterValidator(checked_nonce),
    WithJsonSchema({"type": "string", "pattern": rf"^[!-~]{{1,{MAX_NONCE_LENGTH}}}$"}),
]


class OptionsRequest(BaseModel):
    """Of redeliveries: how much is sent again, and under which keys."""

    model_config = ConfigDict(extra="forbid", strict=True)

    how: Annotated[How, Field(strict=False, description="`resume`: only what is missing")] = DEFAULT_OPTIONS.how
    nonce: Annotated[_Nonce | None, Field(description="for new keys")] = None
    include: Annotated[
        list[Annotated[Include, Field(strict=False)]],
        Field(max_length=len(Include), description="what is left out unless it is named here"),
    ] = Field(default_factory=list)

    @property
    def options(self) -> RedeliveryOptions:
        return RedeliveryOptions(self.how, self.nonce, frozenset(self.include))


class ReplayRequest(OptionsRequest):
    """`reason` is needed unless `dryRun` is true; `how`, `nonce` and `include` are for the mode `redeliver`."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"allOf": [SAID_OR_DRY_RUN, FOR_REDELIVERIES]}
    )

    mode: Annotated[Mode, Field(strict=False)]
    dry_run: Annotated[bool, Field(alias="dryRun")] = False
    reason: Reason | None = None

    @model_validator(mode="after")
    def _has_a_reason(self) -> Self:
        if not self.dry_run and not (self.reason or "").strip():
            raise ValueError("a replay that isn't a dry run needs a reason")
        if self.mode is not Mode.REDELIVER and self.options != DEFAULT_OPTIONS:
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
