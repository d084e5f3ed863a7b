"""The shapes of what people do to single orders and messages: what they may ask for, and what they are told."""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from typing_extensions import TypedDict  # pydantic asks for this one below Python 3.12

from adapters.presentation.schemas import ActionView, Amount, Nanoseconds, ParkedOrder, QuarantineSummary
from adapters.records.operators import ActionKind
from adapters.records.quarantine import Edit
from adapters.web.parameters import (
    NEXT,
    SAID_OR_DRY_RUN,
    Empty,
    Id,
    PageQuery,
    Reason,
    like_cursor,
    storable,
    text_like,
    whole,
)
from domain.effects import EffectKind
from domain.events import Doubt
from domain.intervention import NUMBERS_PATTERN, Numbers, parse_numbers
from domain.lifecycle import Status
from domain.messages import Kind
from projections.republication import CallState

MAX_EDIT_BODY_BYTES: Final = 4 * 1024 * 1024
"""Room for a whole message in base64."""
MAX_HEADERS: Final = 1000
MAX_HEADER_NAME: Final = 1000
MAX_VERSION: Final = 2**31 - 1
_BASE64: Final = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"


class _ActionBody(BaseModel):
    """Something that is asked for. With `dryRun` it is only said what would be done."""

    model_config = ConfigDict(extra="forbid", strict=True)

    reason: Reason = ""
    dry_run: Annotated[bool, Field(alias="dryRun")] = False


class _Reasoned(_ActionBody):
    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=SAID_OR_DRY_RUN)

    @model_validator(mode="after")
    def _has_a_reason(self) -> Self:
        if not self.dry_run and not self.reason.strip():
            raise ValueError("it needs a reason, unless it is a dry run")
        return self


def _numbers(value: Any) -> Numbers | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("must be a text")  # noqa: TRY004 - what pydantic makes a validation error of
    return parse_numbers(value)


LIKE_NUMBERS: Final = WithJsonSchema(
    {"anyOf": [{"type": "string", "pattern": f"^{NUMBERS_PATTERN}$"}, {"type": "null"}], "examples": ["4-6", "4"]}
)


class RetryRequest(_ActionBody):
    pass


class SkipRequest(_Reasoned):
    """`version` names the call that is meant: if the order stands at another one by now, nothing is done."""

    version: Annotated[int, Field(ge=1, le=MAX_VERSION), BeforeValidator(whole)] | None = None


class SettleRequest(_Reasoned):
    pass


class ReleaseRequest(_Reasoned):
    """`numbers` are those of the publisher's sequence that will never come; without them all that is missing is
    given up, a missing CREATED with it."""

    numbers: Annotated[Numbers | None, BeforeValidator(_numbers), LIKE_NUMBERS] = None


class DiscardRequest(_Reasoned):
    pass


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return storable(value).encode()
    if isinstance(value, dict) and value.keys() == {"base64"} and isinstance(value["base64"], str):
        try:
            return base64.b64decode(value["base64"], validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("must be base64") from None
    raise ValueError('must be a text, or {"base64": …}')


_Octets = Annotated[
    bytes,
    BeforeValidator(_bytes),
    WithJsonSchema(
        {
            "oneOf": [
                {"type": "string", "pattern": r"^[^\u0000]*$"},
                {
                    "type": "object",
                    "properties": {"base64": {"type": "string", "pattern": _BASE64, "contentEncoding": "base64"}},
                    "required": ["base64"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


class HeaderRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(max_length=MAX_HEADER_NAME), AfterValidator(storable), text_like(MAX_HEADER_NAME)]
    value: _Octets | None = None


class QuarantineRetryRequest(_ActionBody):
    """`key`, `value` and `headers` are read in the place of what came."""

    key: _Octets | None = None
    value: _Octets | None = None
    headers: Annotated[list[HeaderRequest], Field(max_length=MAX_HEADERS)] | None = None

    @property
    def edit(self) -> Edit:
        headers = None if self.headers is None else tuple((each.name, each.value) for each in self.headers)
        return Edit(self.key, self.value, headers)


class AuditQuery(PageQuery):
    cursor: Annotated[Annotated[str, like_cursor("audit")] | None, Empty, Field(description=NEXT)] = None
    order: Annotated[Id | None, Empty] = None


class ParkedPage(TypedDict):
    """Smallest order ids first."""

    parked: list[ParkedOrder]
    next: str | None


class QuarantinePage(TypedDict):
    """The last ones first."""

    quarantined: list[QuarantineSummary]
    next: str | None


class WaitingCallView(TypedDict):
    """A call that is not settled."""

    version: int
    kind: EffectKind
    method: str
    path: str
    key: UUID
    state: CallState
    attempts: int
    firstSentAt: datetime | None
    cashbackAmount: Amount | None


class ParkedAnswer(TypedDict):
    """What was done, or, with `dryRun`, what would be. `follows`: the first hundred of the calls behind `call`."""

    orderId: int
    action: ActionKind
    dryRun: bool
    stateBefore: str
    stateAfter: str
    parkedReason: str | None
    call: WaitingCallView | None
    follows: list[WaitingCallView]
    followCount: int
    warnings: list[str]


class SettledDoubt(TypedDict):
    """A doubt, and the event that raised it. `atStake`: what would be owed if the other reading were right, minus
    what is."""

    doubt: Doubt
    version: int
    since: Nanoseconds
    atStake: Amount | None


class FollowingCall(TypedDict):
    """A call that goes to the third party because of it."""

    version: int
    kind: EffectKind
    method: str
    path: str
    key: UUID
    cashbackAmount: Amount | None


class DecidedEvent(TypedDict):
    """One event that follows; `type` is that of the message which it is about."""

    version: int
    event: str
    type: Kind | None


class InterventionAnswer(TypedDict):
    """What was done, or, with `dryRun`, what would be. `doubts`: those that are settled, or that a release leaves
    behind. `givenUp`: numbers, or the CREATED, that will never come; `closed`: messages that are closed, unpaid.
    `calls`: the first hundred that follow."""

    orderId: int
    action: ActionKind
    dryRun: bool
    statusBefore: Status
    statusAfter: Status
    cashbackBefore: Amount | None
    cashbackAfter: Amount | None
    doubts: list[SettledDoubt]
    givenUp: list[str]
    closed: int
    events: list[DecidedEvent]
    calls: list[FollowingCall]
    callCount: int
    warnings: list[str]


class DecisionView(TypedDict):
    """One event that follows."""

    version: int
    event: str
    type: Kind


class QuarantineAnswer(TypedDict):
    """What was done, or, with `dryRun`, what would be. A repeat was known already and changes nothing."""

    id: int
    action: ActionKind
    dryRun: bool
    stateBefore: str
    stateAfter: str
    orderId: int | None
    type: Kind | None
    transactionDate: str | None
    isRepeat: bool
    decisions: list[DecisionView]


class AuditPage(TypedDict):
    """The last ones first."""

    actions: list[ActionView]
    next: str | None
