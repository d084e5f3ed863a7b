"""The third party in memory: the port `ThirdParty` over the sandbox's own strict books, without HTTP."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from adapters.third_party_api.client import classify, read_lookup
from projections.delivery.ports import Answer, Call, Lookup, Outcome
from projections.intended_calls import path_of
from sandbox.third_party_server import call_log
from sandbox.third_party_server.books import Books, Reply, refusal
from sandbox.third_party_server.requests import Operation, parse

TIMEOUT_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one call. Nothing, unless told otherwise."""

    stall_seconds: float = 0.0
    """Our own process stands still before anything is sent, and no time-out counts."""
    unreachable: bool = False
    status: int | None = None
    """Answered with this, and not applied."""
    retry_after: str | None = None
    before_seconds: float = 0.0
    """Until the call is applied."""
    after_seconds: float = 0.0
    """From then until it's answered."""
    lost_answer: bool = False
    late_seconds: float = 0.0
    """In a proxy's queue, before the call comes to the third party. It is carried out then, whoever has left."""


FINE: Final = Fault()
HANG: Final = Fault(before_seconds=10**9)


class FakeThirdParty:
    """`plan` says what goes wrong with a call, each time that it is sent; `lookup_plan` the same of a lookup."""

    def __init__(
        self, plan: Callable[[Call], Fault] = lambda _: FINE, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self.books = Books(clock_ns=_loop_time_ns)
        self.key_retention_seconds: float | None = None
        """When keys are forgotten; None: never."""
        self.plan = plan
        self.lookup_plan: Callable[[int], Fault] = lambda _: FINE
        self.looked_up: list[int] = []
        self.sent: list[Call] = []
        """Every attempt, from its beginning on."""
        self._serving: set[asyncio.Future[Reply | None]] = set()
        """Late calls go on without their caller."""
        self.under_way = 0
        self.most_under_way = 0
        self.timeout_seconds = timeout_seconds

    @property
    def applied(self) -> list[tuple[int, str]]:
        """Order id and path of every call that took effect, in order."""
        return [(entry.order_id or 0, entry.path) for entry in self.books.log.after(0) if entry.applied]

    @property
    def violations(self) -> list[str]:
        return [violation.kind for violation in self.books.violations]

    async def send(self, call: Call) -> Answer:
        fault = self.plan(call)
        self.sent.append(call)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(fault.stall_seconds)
            if fault.unreachable:
                return Answer(Outcome.FAILED, None, "no connection")
            return await self._call(call, fault)
        finally:
            self.under_way -= 1

    async def lookup(self, order_id: int) -> Lookup:
        fault = self.lookup_plan(order_id)
        self.looked_up.append(order_id)
        if fault.unreachable:
            return Answer(Outcome.FAILED, None, "no connection")
        try:
            async with asyncio.timeout(self.timeout_seconds):
                await asyncio.sleep(fault.before_seconds)
                said = self.books.lookup(order_id)
                await asyncio.sleep(fault.after_seconds)
        except TimeoutError:
            return Answer(Outcome.IN_DOUBT, None, "no answer in time")
        if fault.status is not None:
            said = refusal(fault.status, "injected_error", "as the test wants it")
        if fault.lost_answer:
            return Answer(Outcome.IN_DOUBT, None, "the connection broke")
        answer = classify(said.status, said.body, fault.retry_after, datetime.now(UTC))
        return read_lookup(order_id, answer, said.body)

    async def _call(self, call: Call, fault: Fault) -> Answer:
        gone = asyncio.Event()
        serving = asyncio.ensure_future(
            self._serve(call, fault, gone) if not fault.late_seconds else self._late(call, fault)
        )
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        try:
            async with asyncio.timeout(self.timeout_seconds):
                said = await asyncio.shield(serving)
        except TimeoutError:
            return Answer(Outcome.IN_DOUBT, None, "no answer in time")
        finally:
            gone.set()
        if said is None:
            return Answer(Outcome.IN_DOUBT, None, "the connection broke")
        return classify(said.status, said.body, fault.retry_after, datetime.now(UTC))

    async def _late(self, call: Call, fault: Fault) -> Reply | None:
        await asyncio.sleep(fault.late_seconds)
        return await self._serve(call, fault, asyncio.Event())

    async def _serve(self, call: Call, fault: Fault, gone: asyncio.Event) -> Reply | None:
        """What the server does. It drops a call whose caller has left before it's applied."""
        method, path = path_of(call.kind, call.order_id)
        tick = self.books.arrive()
        entry = call_log.ReceivedCall(
            method, path, str(call.key), call.order_id, call.body, arrived_tick=tick, client_gone=gone.is_set
        )
        self.books.enter(entry)
        said: Reply | None = None
        try:
            said = self.books.claim_key(entry)
            if said is not None:
                return said
            if await _left_within(fault.before_seconds, gone) or entry.abandoned:
                return None
            said = self._judge(call, entry, fault)
            if await _left_within(fault.after_seconds, gone) or fault.lost_answer:
                said = None
            return said
        finally:
            outcome: call_log.Outcome = "client_gone" if gone.is_set() else "cut" if said is None else "answered"
            self.books.leave(entry, outcome, said.status if said else None)

    def _judge(self, call: Call, entry: call_log.ReceivedCall, fault: Fault) -> Reply:
        if fault.status is not None:
            return refusal(fault.status, "injected_error", "as the test wants it")
        request = parse(Operation(call.kind.value), call.order_id, call.body)
        kept = self.key_retention_seconds
        return self.books.judge(entry, request, key_retention_ns=None if kept is None else round(kept * 1e9))


def _loop_time_ns() -> int:
    return round(asyncio.get_running_loop().time() * 1e9)


async def _left_within(seconds: float, gone: asyncio.Event) -> bool:
    """Waits; True at once when the caller hangs up."""
    try:
        await asyncio.wait_for(gone.wait(), seconds)
    except TimeoutError:
        return False
    return True
