"""What the console's addresses may say. An empty parameter counts as absent, an unknown one is refused."""

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from adapters.records.differences import DifferenceClass, DifferenceState
from adapters.records.jobs import BulkMode
from adapters.records.money_may_be_wrong import CaseKind, CaseSort
from adapters.records.quarantine import QuarantineState
from adapters.web.parameters import MAX_TEXT_LENGTH, Day, Empty, Id, checked_nonce, storable
from domain.events import Doubt
from domain.identifiers import MAX_ORDER_ID
from domain.intervention import Numbers, parse_numbers
from domain.lifecycle import Status
from projections.redelivery import DEFAULT_OPTIONS, How, Include, RedeliveryOptions
from projections.republication import Mode

_Text = Annotated[str, Field(max_length=MAX_TEXT_LENGTH), AfterValidator(storable), AfterValidator(str.strip)]
_Flag = Annotated[bool, BeforeValidator(lambda value: value not in {"", "0", "false"})]


MAX_ADDRESS_ORDERS_LENGTH: Final = 4000
"""Of the orders that an address names."""


def order_ids(text: str) -> list[int]:
    """As people write them, whatever stands between them. Raises ValueError."""
    found = []
    for word in re.split(r"[\s,;]+", text.strip()):
        if not word:
            continue
        if not re.fullmatch(r"[0-9]{1,19}", word) or not 1 <= int(word) <= MAX_ORDER_ID:
            raise ValueError(f"“{word[:40]}” is no order id")
        found.append(int(word))
    return found


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OrdersListQuery(_Query):
    """`below` and `above` are where a page begins: an order id, included."""

    status: Annotated[Status | None, Empty] = None
    buyer: Annotated[_Text | None, Empty] = None
    held: _Flag = False
    doubtful: _Flag = False
    parked: _Flag = False
    mismatch: _Flag = False
    below: Annotated[Id | None, Empty] = None
    above: Annotated[Id | None, Empty] = None


class MessagesQuery(_Query):
    """Two messages of an order, by the versions of the events about them."""

    left: Annotated[Id | None, Empty] = None
    right: Annotated[Id | None, Empty] = None


class SearchQuery(_Query):
    q: _Text = ""


class CursorQuery(_Query):
    cursor: Annotated[_Text | None, Empty] = None


class ParkedListQuery(CursorQuery):
    reason: Annotated[_Text | None, Empty] = None


class QuarantineListQuery(CursorQuery):
    state: Annotated[QuarantineState | Literal["all"], Empty] = "open"
    reason: Annotated[_Text | None, Empty] = None
    topic: Annotated[_Text | None, Empty] = None


class DifferencesListQuery(CursorQuery):
    state: DifferenceState = "open"
    verdict: Annotated[DifferenceClass | None, Field(alias="class"), Empty] = None


class CasesListQuery(_Query):
    """The sort is that of the first page; the others go on as it began."""

    kind: Annotated[CaseKind | None, Empty] = None
    sort: CaseSort = CaseSort.AMOUNT
    cursor: Annotated[str | None, Empty] = None


class StatementPageQuery(_Query):
    """`form`: the page, or a file."""

    day: Annotated[Day | None, Empty] = None
    form: Annotated[Literal["page", "csv", "json"], Empty] = "page"


class AuditListQuery(CursorQuery):
    order: Annotated[Id | None, Empty] = None


class OrderQuery(_Query):
    """`done` is what was just begun, for the word about it."""

    done: Annotated[Literal["redeliver", "republish", "retry", "skip", "settle", "release"] | None, Empty] = None


class QuarantinedQuery(_Query):
    done: Annotated[Literal["retried", "discarded"] | None, Empty] = None


class ReplayQuery(_Query):
    """`how`, `nonce` and `include` are for redeliveries."""

    mode: Mode
    how: How = DEFAULT_OPTIONS.how
    nonce: Annotated[Annotated[str, AfterValidator(checked_nonce)] | None, Empty] = None
    include: Annotated[list[Include], Field(max_length=len(Include))] = []

    @property
    def options(self) -> RedeliveryOptions:
        return (
            RedeliveryOptions(self.how, self.nonce, frozenset(self.include))
            if self.mode is Mode.REDELIVER
            else DEFAULT_OPTIONS
        )


def _checked_numbers(text: str) -> str:
    parse_numbers(text)
    return text


class ReleaseQuery(_Query):
    """Without `numbers` all that is missing is given up."""

    numbers: Annotated[Annotated[str, AfterValidator(_checked_numbers)] | None, Empty] = None

    @property
    def wanted(self) -> Numbers | None:
        return None if self.numbers is None else parse_numbers(self.numbers)


class NewReplayQuery(_Query):
    """What the form for a replay of many orders begins with."""

    mode: BulkMode | None = None
    orders: Annotated[str, Field(max_length=MAX_ADDRESS_ORDERS_LENGTH)] = ""
    status: Annotated[Status | None, Empty] = None
    parked: _Flag = False
    doubtful: _Flag = False
    doubt: Annotated[Doubt | None, Empty] = None
    held: _Flag = False
    parked_reason: Annotated[_Text | None, Empty] = None
    difference: Annotated[DifferenceClass | None, Empty] = None
    quarantine_reason: Annotated[_Text | None, Empty] = None
    quarantine_topic: Annotated[_Text | None, Empty] = None


class CompareQuery(_Query):
    orders: Annotated[str, Field(max_length=MAX_ADDRESS_ORDERS_LENGTH)] = ""


class SignInQuery(_Query):
    next: _Text = "/"
