"""One claimed order: its calls one after the other, and what each answer means for the order and for all others."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

import structlog

from domain.effects import EffectKind
from projections.delivery.breaker import Breaker, BreakerState
from projections.delivery.doubt import DoubtRuling, settle_doubt, trusted_key_seconds
from projections.delivery.ports import (
    Answer,
    Attempt,
    AttemptKind,
    Call,
    Claim,
    Found,
    Lookup,
    NotFound,
    Outcome,
    Settlement,
    ThirdParty,
)
from projections.delivery.rate_limiter import RateLimiter
from projections.delivery.retry import RetryPolicy
from projections.doubt_marks import DOUBTFUL
from projections.resolution import EXACT, Resolution

TOO_MANY_REQUESTS: Final = 429
REQUEST_TIMEOUT: Final = 408
CLIENT_ERRORS: Final = 400
SERVER_ERRORS: Final = 500
"""This and all above it (RFC 9110, section 15.6)."""

log = structlog.get_logger(__name__)


class DeliveryListener(Protocol):
    """Who wants to know how delivery goes on; called on the event loop."""

    def attempt_ended(self, attempt: Attempt) -> None: ...
    def order_parked(self, claim: Claim, reason: str) -> None: ...
    def push_state(self, state: str, why: str | None = None) -> None:
        """`sending`, or in a few words what it waits for."""

    def breaker_changed(self, state: BreakerState, why: str) -> None:
        """`why` it isn't closed."""

    def rate_changed(self, calls_per_second: float) -> None:
        """What is allowed at most from now on; infinite without a limit."""


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """Limits of one dispatcher."""

    concurrency: int = 64
    call_timeout_seconds: float = 10.0
    """The longest that `ThirdParty.send` and `ThirdParty.lookup` take."""
    lease_seconds: float = 60.0
    """As the ledger grants it."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    key_retention_seconds: float = 24 * 3600.0
    """How long the third party remembers a key."""
    lookups: bool = True
    """Whether it can be asked how an order stands. If not, what only that could tell is left to a person."""
    calls_per_second: float | None = None
    resolution: Resolution = EXACT
    holds_doubtful: bool = True
    """Whether a doubtful order's `complete` waits for a person."""

    @property
    def trusted_key_seconds(self) -> float:
        return trusted_key_seconds(self.key_retention_seconds, self.call_timeout_seconds)


@dataclass(slots=True)
class _Work:
    claim: Claim
    claimed_at: float
    lease_ends: float
    epoch: int
    attempts: list[Attempt] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Pause:
    """Why an order goes no further for now."""

    spent: int
    wait_seconds: float = 0.0
    parked_reason: str | None = None


class Sender:
    """`pause` waits for so many seconds, or until we stop; `holds` is the ledger's."""

    def __init__(  # noqa: PLR0913 - its parts, all made by the dispatcher
        self,
        third_party: ThirdParty,
        policy: DeliveryPolicy,
        listener: DeliveryListener,
        breaker: Breaker,
        rate_limiter: RateLimiter,
        *,
        monotonic: Callable[[], float],
        now: Callable[[], datetime],
        rng: random.Random,
        is_stopping: Callable[[], bool],
        pause: Callable[[float], Awaitable[None]],
        holds: Callable[[Claim], Awaitable[bool]],
    ) -> None:
        self._third_party = third_party
        self._policy = policy
        self._listener = listener
        self._breaker = breaker
        self._rate_limiter = rate_limiter
        self._monotonic = monotonic
        self._now = now
        self._rng = rng
        self._is_stopping = is_stopping
        self._pause = pause
        self._holds = holds

    async def deliver_claim(self, claim: Claim, claimed_at: float, epoch: int) -> Settlement:
        """The calls of one order, until one isn't delivered or mustn't be begun any more.

        The lease counts from `claimed_at` on; `epoch` is the breaker's at that time.
        """
        work = _Work(claim, claimed_at, claimed_at + self._policy.lease_seconds, epoch)
        settled_version, spent = claim.settled_version, claim.attempts
        stop: _Pause | None = None
        for call in claim.calls:
            if self._is_held(call, claim):
                stop = _Pause(spent, parked_reason=DOUBTFUL)
                break
            stop = await self._deliver(call, work, spent)
            if stop is not None:
                break
            settled_version, spent = call.version, 0
        stop = stop or _Pause(0)
        if stop.parked_reason is not None:
            self._listener.order_parked(claim, stop.parked_reason)
        return Settlement(
            claim, tuple(work.attempts), settled_version, stop.spent, stop.wait_seconds, stop.parked_reason
        )

    def _is_held(self, call: Call, claim: Claim) -> bool:
        """The end of an order is claimed after every doubt from before that end is known (doubt_marks.py)."""
        if not self._policy.holds_doubtful or not claim.is_doubtful:
            return False
        return call.kind is EffectKind.COMPLETE and call.version not in claim.delivered_before

    async def _deliver(self, call: Call, work: _Work, spent: int) -> _Pause | None:
        """None if the call has been carried out."""
        sendings = work.claim.sendings.get(call.version, 0)
        if self._key_may_be_forgotten(call, work):
            if not self._policy.lookups:
                return _Pause(spent, parked_reason=f"{self._in_doubt}, and lookups are switched off")
            if not await self._may_begin(work):
                return _Pause(spent)
            looked_up, blamed = await self._ask(
                call, work, AttemptKind.LOOKUP, self._third_party.lookup(call.order_id)
            )
            if isinstance(looked_up, Answer):
                return self._stop(looked_up, spent, sendings, blamed=blamed, is_call=False)
            later = [each for each in work.claim.calls if each.version > call.version]
            in_doubt = [each for each in later if each.version in work.claim.doubts]
            verdict = settle_doubt(call, looked_up, in_doubt, self._policy.resolution)
            if verdict.ruling is DoubtRuling.PARK:
                return _Pause(spent, parked_reason=f"{self._in_doubt}; a lookup found {verdict.found}")
            if verdict.ruling is DoubtRuling.DELIVERED:
                return None
        if not await self._may_begin(work):
            return _Pause(spent)
        answer, blamed = await self._ask(call, work, AttemptKind.CALL, self._third_party.send(call))
        assert isinstance(answer, Answer)
        return None if answer.outcome is Outcome.DELIVERED else self._stop(answer, spent, sendings, blamed=blamed)

    @property
    def _in_doubt(self) -> str:
        hours = self._policy.trusted_key_seconds / 3600
        return f"in doubt for longer than the third party surely remembers keys, {hours:.3g} h"

    def _key_may_be_forgotten(self, call: Call, work: _Work) -> bool:
        """By the time the call gets there, however long that takes."""
        age_seconds = work.claim.doubts.get(call.version)
        if age_seconds is None:
            return False
        return age_seconds + self._monotonic() - work.claimed_at >= self._policy.trusted_key_seconds

    async def _may_begin(self, work: _Work) -> bool:
        """Waits for our turn, if it comes soon enough."""
        if not self._is_free(work):
            return False
        left_seconds = work.lease_ends - self._policy.call_timeout_seconds - self._monotonic()
        wait_seconds = self._rate_limiter.turn(left_seconds)
        if wait_seconds is None:
            return False
        if wait_seconds > 0:
            await self._pause(wait_seconds)
        return await self._holds(work.claim) and self._is_free(work)

    def _is_free(self, work: _Work) -> bool:
        fits = self._monotonic() + self._policy.call_timeout_seconds < work.lease_ends
        held = work.epoch != self._breaker.epoch or self._rate_limiter.asked_to_wait_seconds > 0
        return fits and not held and not self._is_stopping()

    async def _ask(
        self, call: Call, work: _Work, kind: AttemptKind, question: Coroutine[Any, Any, Lookup]
    ) -> tuple[Lookup, bool]:
        """What the third party says, and whether the order is to blame if that isn't what we want to hear."""
        started_at, sent_at = self._now(), self._monotonic()
        said: Lookup
        try:
            said = await question
        except asyncio.CancelledError:
            said, blamed = Answer(Outcome.IN_DOUBT, None, "we stopped before the answer came"), False
        except Exception as error:  # our own mistake; it must not stop the other orders
            log.exception("a call failed by an error of ours", order_id=call.order_id, version=call.version)
            said, blamed = Answer(Outcome.IN_DOUBT, None, f"an error of ours: {type(error).__name__}"), True
        else:
            blamed = self._learn(call, work, said, sent_at)
        duration_ms = round((self._monotonic() - sent_at) * 1000)
        number = work.claim.sendings.get(call.version, 0) + (kind is AttemptKind.CALL)
        attempt = Attempt(call, started_at, duration_ms, _recorded(said), kind, number)
        work.attempts.append(attempt)
        self._listener.attempt_ended(attempt)
        return said, blamed

    def _learn(self, call: Call, work: _Work, said: Lookup, sent_at: float) -> bool:
        """Tells the breaker and the pacer. Says whether the order is to blame."""
        breaker, epoch = self._breaker, work.epoch
        match said:
            case Answer(outcome=Outcome.UNAUTHORIZED):
                breaker.open(epoch, "the third party refuses our credentials")
                return False
            case Answer(outcome=Outcome.FAILED, status=status) if status == TOO_MANY_REQUESTS:
                breaker.answered(epoch)
                self._rate_limiter.throttled(sent_at, self._policy.retry.granted_seconds(said.retry_after_seconds))
                return False
            case Answer(outcome=Outcome.FAILED | Outcome.IN_DOUBT, status=status) if (
                status is None or status == REQUEST_TIMEOUT or status >= SERVER_ERRORS or _is_sent_elsewhere(said)
            ):
                blamed = breaker.failed(
                    epoch,
                    call.order_id,
                    f"the third party is down: {f'status {status}' if status else said.text}",
                    least_seconds=self._policy.retry.granted_seconds(said.retry_after_seconds) or 0.0,
                )
                return blamed and not _never_reached(said) and not _is_sent_elsewhere(said)
            case _:
                breaker.answered(epoch)
                return True

    def _stop(self, answer: Answer, spent: int, sendings: int, *, blamed: bool, is_call: bool = True) -> _Pause:
        """`sendings`: how often the call had been sent before this claim."""
        retry = self._policy.retry
        match answer.outcome:
            case Outcome.IN_FLIGHT:
                return _Pause(spent, retry.wait_seconds(spent + 1, answer.retry_after_seconds, self._rng))
            case Outcome.REFUSED:
                reason = f"refused with status {answer.status}"
                return _Pause(spent + 1, parked_reason=reason if is_call else f"{self._in_doubt}; lookup {reason}")
            case _:
                spent += blamed
                # Whoever is sent elsewhere spends nothing, and must come more and more seldom all the same.
                tries = max(1, spent, sendings if _is_sent_elsewhere(answer) else 0)
                wait_seconds = retry.wait_seconds(tries, answer.retry_after_seconds, self._rng)
                if blamed and spent >= retry.max_attempts:
                    reason = f"{spent} attempts failed; the last: {answer.status or answer.outcome}"
                    return _Pause(spent, wait_seconds, reason)
                return _Pause(spent, max(wait_seconds, self._breaker.held_seconds))


def _never_reached(answer: Answer) -> bool:
    return answer.outcome is Outcome.FAILED and answer.status is None


def _is_sent_elsewhere(answer: Answer) -> bool:
    """By a redirect, or to another protocol: it's the address that is wrong, or who answers there."""
    return answer.outcome is Outcome.FAILED and answer.status is not None and answer.status // 100 in {1, 3}


def _recorded(said: Lookup) -> Answer:
    match said:
        case Found():
            text = f"{said.status} with {said.cashback_amount} of {said.last_transaction_date}"
            return Answer(Outcome.FOUND, 200, text)
        case NotFound():
            return Answer(Outcome.NOT_FOUND, 404, "")
        case Answer():
            return said
