"""The shapes of bulk replays in the API: what callers may ask for, and what they are told."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from typing_extensions import TypedDict  # pydantic asks for this one below Python 3.12

from adapters.presentation.jobs import BulkView
from adapters.records.differences import DifferenceClass
from adapters.records.jobs import (
    DEFAULT_RATE_PER_SECOND,
    LIMIT_PATTERN,
    MAX_ORDERS,
    MAX_RATE_PER_SECOND,
    MIN_RATE_PER_SECOND,
    BulkMode,
    Selection,
    limit_of,
)
from adapters.web.parameters import (
    FOR_REDELIVERIES,
    SAID,
    Number,
    OptionsRequest,
    Reason,
    Text,
    storable,
    text_like,
)
from domain.events import Doubt
from domain.instants import parse_instant
from domain.lifecycle import Status
from projections.redelivery import DEFAULT_OPTIONS

MAX_TOKEN_LENGTH: Final = 100


def _parsed(value: Any) -> int:
    if not isinstance(value, str):
        raise ValueError("must be a text")  # noqa: TRY004 - what pydantic makes a validation error of
    return parse_instant(value)


_YEARS: Final = r"(1679|16[89]\d|1[789]\d\d|2[01]\d\d|22[0-5]\d|2260)"
"""The whole years in which we can count nanoseconds."""
_Instant = Annotated[
    int,
    BeforeValidator(_parsed),
    WithJsonSchema(
        {
            "type": "string",
            "format": "date-time",
            "pattern": rf"^{_YEARS}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{{1,9}})?(Z|[+-]\d\d:\d\d)$",
        }
    ),
]


_Limit = Annotated[
    Decimal,
    BeforeValidator(limit_of),
    WithJsonSchema({"type": "string", "pattern": f"^{LIMIT_PATTERN}$"}),
]

_CONDITIONS: Final = (
    *("orders", "status", "changedFrom", "changedTo", "parkedReason", "parkedFrom", "parkedTo"),
    *("doubt", "doubtfulFrom", "doubtfulTo", "atStakeMin", "atStakeMax", "heldFrom", "heldTo", "difference"),
)
_FLAGS: Final = ("parked", "doubtful", "held")
_MESSAGE_CONDITIONS: Final = ("quarantineReason", "quarantineTopic")
_MESSAGE_FLAGS: Final = ("quarantined",)


def _silent(conditions: Sequence[str], flags: Sequence[str]) -> dict[str, Any]:
    """A selection that says nothing by these."""
    return {
        "properties": {
            **{each: {"type": "null"} for each in conditions},
            **{each: {"const": False} for each in flags},
        }
    }


_SAYS_SOMETHING: Final[dict[str, Any]] = {
    "anyOf": [
        *(
            {"properties": {each: {"not": {"type": "null"}}}, "required": [each]}
            for each in (*_CONDITIONS, *_MESSAGE_CONDITIONS)
        ),
        *({"properties": {each: {"const": True}}, "required": [each]} for each in (*_FLAGS, *_MESSAGE_FLAGS)),
    ]
}
_OF_MESSAGES: Final = sorted(each.value for each in BulkMode if each.is_of_messages)
_OF_ORDERS: Final = sorted(each.value for each in BulkMode if not each.is_of_messages)
_OF_ITS_THINGS: Final[dict[str, Any]] = {
    "anyOf": [
        {
            "properties": {
                "mode": {"enum": _OF_ORDERS},
                "select": _silent(_MESSAGE_CONDITIONS, _MESSAGE_FLAGS),
            }
        },
        {"properties": {"mode": {"enum": _OF_MESSAGES}, "select": _silent(_CONDITIONS, _FLAGS)}},
    ]
}
"""Orders for what is done to orders, messages for what is done to messages (`OtherThings`)."""


class SelectionRequest(BaseModel):
    """Which orders; all conditions that are given must hold. `changedFrom` (included) and `changedTo` (excluded)
    are about the order's last change: the moment of the last decision about it. `parkedReason` is what the reason
    begins with for which the order is parked. `doubt` is the kind of a doubt, `doubtfulFrom` and `doubtfulTo` are
    about its order's oldest open doubt, `heldFrom` and `heldTo` about the oldest held message; `atStakeMin` and
    `atStakeMax` are included. `difference` is the class of an open difference from the third party's books.
    `quarantined`, `quarantineReason` and `quarantineTopic` select open messages in quarantine, for the modes that
    are about them, and go with no other condition."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=_SAYS_SOMETHING)

    orders: Annotated[list[Number], Field(min_length=1, max_length=MAX_ORDERS)] | None = None
    status: Annotated[Status, Field(strict=False)] | None = None
    changed_from: Annotated[_Instant | None, Field(alias="changedFrom")] = None
    changed_to: Annotated[_Instant | None, Field(alias="changedTo")] = None
    parked: bool = False
    parked_reason: Annotated[Text | None, Field(alias="parkedReason")] = None
    parked_from: Annotated[_Instant | None, Field(alias="parkedFrom")] = None
    parked_to: Annotated[_Instant | None, Field(alias="parkedTo")] = None
    doubtful: bool = False
    doubt: Annotated[Doubt, Field(strict=False)] | None = None
    doubtful_from: Annotated[_Instant | None, Field(alias="doubtfulFrom")] = None
    doubtful_to: Annotated[_Instant | None, Field(alias="doubtfulTo")] = None
    at_stake_min: Annotated[_Limit | None, Field(alias="atStakeMin")] = None
    at_stake_max: Annotated[_Limit | None, Field(alias="atStakeMax")] = None
    held: bool = False
    held_from: Annotated[_Instant | None, Field(alias="heldFrom")] = None
    held_to: Annotated[_Instant | None, Field(alias="heldTo")] = None

    difference: DifferenceClass | None = None
    quarantined: bool = False
    quarantine_reason: Annotated[Text | None, Field(alias="quarantineReason")] = None
    quarantine_topic: Annotated[Text | None, Field(alias="quarantineTopic")] = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.selection == Selection():
            raise ValueError("say which orders: at least one condition is needed")
        return self

    @property
    def selection(self) -> Selection:
        given = self.model_dump()
        moments = {f"{name}_ns": given.pop(name) for name in (*given,) if name.endswith(("_from", "_to"))}
        named = None if self.orders is None else frozenset(self.orders)
        return Selection(**given | moments | {"orders": named})


class BulkRequest(OptionsRequest):
    """A preview that is asked for; nothing is done yet. `how`, `nonce` and `include` are for the mode
    `redeliver`."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"allOf": [SAID, FOR_REDELIVERIES, _OF_ITS_THINGS]}
    )

    mode: Annotated[BulkMode, Field(strict=False)]
    select: SelectionRequest
    rate_per_second: Annotated[
        float, Field(alias="ratePerSecond", ge=MIN_RATE_PER_SECOND, le=MAX_RATE_PER_SECOND)
    ] = DEFAULT_RATE_PER_SECOND
    reason: Reason

    @model_validator(mode="after")
    def _has_a_reason(self) -> Self:
        if not self.reason.strip():
            raise ValueError("a replay needs a reason")
        if self.mode is not BulkMode.REDELIVER and self.options != DEFAULT_OPTIONS:
            raise ValueError("how, nonce and include are for the mode redeliver")
        return self


class StartRequest(BaseModel):
    """With the token of the preview."""

    model_config = ConfigDict(extra="forbid", strict=True)

    token: Annotated[str, Field(max_length=MAX_TOKEN_LENGTH), AfterValidator(storable), text_like(MAX_TOKEN_LENGTH)]


class BulkPage(TypedDict):
    """The last ones first."""

    replays: list[BulkView]
    next: str | None
