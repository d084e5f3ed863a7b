"""Redelivery: which of an order's calls are sent again, under which keys, and what that could cost.

Nothing is sent here. As long as a call keeps its key and the third party remembers it, sending it again pays nobody
twice. Past that, and with a new key, it may: such a call is only sent if a person has asked for just that.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid5

from domain.exact_json import InvalidJson, loads
from domain.money import ZERO
from projections.delivery.ports import Call
from projections.republication import CallState


class How(StrEnum):
    """How much is sent again."""

    RESUME = "resume"
    """What is missing: the calls that aren't settled."""
    FORCE = "force"
    """All calls, delivered ones too."""


class Include(StrEnum):
    """What even FORCE leaves out unless it is named."""

    FORGOTTEN = "forgotten"
    """Calls that may have been carried out, and whose key the third party may have forgotten since."""
    SKIPPED = "skipped"
    """Calls that a person has given up."""


@dataclass(frozen=True, slots=True)
class RedeliveryOptions:
    """What a person asks for. The default is what can pay nobody twice."""

    how: How = How.FORCE
    nonce: str | None = None
    """Makes a new key for each call: the UUID5 of its old key and this. Calls whose key was made with it already
    keep that one, so that the same request again is harmless."""
    include: frozenset[Include] = frozenset()


DEFAULT_OPTIONS: Final = RedeliveryOptions()
MAX_NONCE_LENGTH: Final = 100


def is_nonce(text: str) -> bool:
    """Visible ASCII characters, so that it can be read out and typed again."""
    return re.fullmatch(r"[!-~]+", text) is not None and len(text) <= MAX_NONCE_LENGTH


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A call as the effect ledger has it, under its present key."""

    call: Call
    state: CallState
    attempts: int
    first_attempt_at: datetime | None
    maybe_done: bool | None = None
    """None: it may have been, if it was sent."""
    nonce: str | None = None
    """That made its key; None for its first one."""

    @property
    def may_have_been_done(self) -> bool:
        sent = self.first_attempt_at is not None
        return self.state is CallState.DELIVERED or (sent if self.maybe_done is None else self.maybe_done)

    @property
    def amount(self) -> Decimal:
        """Zero for a call that says none."""
        try:
            said = loads(self.call.body).get("cashbackAmount")
        except (InvalidJson, AttributeError):
            return ZERO
        return Decimal(said) if isinstance(said, int | Decimal) else ZERO


@dataclass(frozen=True, slots=True)
class Redelivered:
    """A call that is sent again."""

    entry: LedgerEntry
    key: UUID
    is_blind: bool
    """True if it is sent, without a lookup before it, although its key may be forgotten."""
    at_risk: Decimal
    """What the third party could pay a second time because of it."""
    warning: str | None
    """What a person should know before it is sent."""

    @property
    def is_renewed(self) -> bool:
        return self.key != self.entry.call.key


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A call that stays as it is, and why."""

    entry: LedgerEntry
    reason: str


@dataclass(frozen=True, slots=True)
class Redelivery:
    """What happens to an order's calls; both in the order of their versions."""

    sent: tuple[Redelivered, ...] = ()
    suppressed: tuple[Suppressed, ...] = ()

    @property
    def versions(self) -> list[int]:
        return [each.entry.call.version for each in self.sent]

    @property
    def renewed(self) -> dict[int, UUID]:
        """New keys by version."""
        return {each.entry.call.version: each.key for each in self.sent if each.is_renewed}

    @property
    def blind(self) -> list[int]:
        return [each.entry.call.version for each in self.sent if each.is_blind]

    @property
    def amount_at_risk(self) -> Decimal:
        """The most that the buyer could get a second time: one of these amounts, as each call replaces the last."""
        return max((each.at_risk for each in self.sent), default=ZERO)


def redelivery(
    entries: Sequence[LedgerEntry], options: RedeliveryOptions, *, now: datetime, key_retention: timedelta
) -> Redelivery:
    """What would be done with these options."""
    sent: list[Redelivered] = []
    suppressed: list[Suppressed] = []
    for entry in sorted(entries, key=lambda entry: entry.call.version):
        planned = _planned(entry, options, now, key_retention)
        if isinstance(planned, Redelivered):
            sent.append(planned)
        else:
            suppressed.append(planned)
    return Redelivery(tuple(sent), tuple(suppressed))


def _planned(
    entry: LedgerEntry, options: RedeliveryOptions, now: datetime, key_retention: timedelta
) -> Redelivered | Suppressed:
    is_renewed = options.nonce is not None and options.nonce != entry.nonce
    is_remembered = entry.first_attempt_at is not None and now - entry.first_attempt_at < key_retention
    is_forgotten = entry.may_have_been_done and not is_remembered
    is_blind = is_forgotten and not is_renewed and Include.FORGOTTEN in options.include
    if entry.state is CallState.SKIPPED and Include.SKIPPED not in options.include:
        return Suppressed(entry, "a person has given it up")
    if entry.state is CallState.DELIVERED and options.how is How.RESUME:
        return Suppressed(entry, "delivered: only what is missing is sent")
    if entry.state is CallState.DELIVERED and is_forgotten and not (is_renewed or is_blind):
        return Suppressed(entry, _forgotten(key_retention))
    pays_again = entry.may_have_been_done and (is_renewed or is_blind)
    key = uuid5(entry.call.key, options.nonce) if is_renewed and options.nonce is not None else entry.call.key
    at_risk = entry.amount if pays_again else ZERO
    warning = _warning(entry, key_retention, is_renewed=is_renewed, is_blind=is_blind, is_forgotten=is_forgotten)
    return Redelivered(entry, key, is_blind, at_risk, warning)


def _warning(
    entry: LedgerEntry, key_retention: timedelta, *, is_renewed: bool, is_blind: bool, is_forgotten: bool
) -> str | None:
    hours = _hours(key_retention)
    if is_renewed and entry.may_have_been_done:
        return "it may have been carried out under its old key: under a new one the third party may do it again"
    if is_blind:
        return f"first sent more than {hours} ago: the third party may have forgotten its key and do it again"
    if is_forgotten:
        return f"first sent more than {hours} ago: the order is looked up first, and what is found decides"
    if entry.state is CallState.SKIPPED:
        return "a person had given it up"
    return None


def _forgotten(key_retention: timedelta) -> str:
    return (
        f"delivered, and first sent more than {_hours(key_retention)} ago: the third party may have forgotten its"
        " key and would pay again"
    )


def _hours(span: timedelta) -> str:
    return f"{span / timedelta(hours=1):g} h"
