"""The third party over the sandbox's own books, which forgets keys, and a network that delays, loses and cuts."""

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Final

from projections.delivery.ports import Answer, Call, Lookup, Outcome
from tests.simulation.profiles import Profile
from tests.simulation.scheduler import Scheduler
from tests.support.fake_third_party import FINE, HANG, FakeThirdParty, Fault

if TYPE_CHECKING:
    from collections.abc import Callable

CALL_TIMEOUT_SECONDS: Final = 10.0
KEY_RETENTION_SECONDS: Final = 200.0
SLOW_SECONDS: Final = (0.0, 0.01, 3.0, 9.0, 9.5)


class SimulatedThirdParty(FakeThirdParty):
    """Make it inside the running loop."""

    def __init__(self, scheduler: Scheduler, rng: random.Random, profile: Profile) -> None:
        super().__init__(self._fault, timeout_seconds=CALL_TIMEOUT_SECONDS)
        self.lookup_plan = self._fault
        self.key_retention_seconds = KEY_RETENTION_SECONDS
        self.may_overlap = rng.random() < profile.may_overlap
        """Requests that come late, or a process that stands still: nobody can help that two calls of one order are
        there at once. In the other runs none do."""
        self._outage = self._draw_outage(rng, profile)
        self._scheduler = scheduler
        self._rng = rng
        self._profile = profile
        self.calling: Counter[int] = Counter()
        """Orders with calls under way."""
        self.on_send: Callable[[Call], None] = lambda _: None
        """Called when one is begun."""
        self._under_way_late: set[asyncio.Task[object]] = set()

    async def send(self, call: Call) -> Answer:
        name = f"{call.kind} of order {call.order_id}, version {call.version}"
        self._scheduler.tell("network", f"{name}, key {str(call.key)[:8]}")
        self.on_send(call)
        self.calling[call.order_id] += 1
        try:
            answer = await (self._send_late(call) if self._is_late() else super().send(call))
        finally:
            self.calling[call.order_id] -= 1
            self.calling += Counter()  # forgets those without any
        self._scheduler.tell("network", f"{name}: {answer.outcome} {answer.status or ''} {answer.text[:40]}")
        return answer

    async def lookup(self, order_id: int) -> Lookup:
        found = await super().lookup(order_id)
        self._scheduler.tell("network", f"lookup of order {order_id}: {found}")
        return found

    async def _send_late(self, call: Call) -> Answer:
        """The request waits in a queue on the way, for longer than the caller waits for the answer, perhaps."""
        self.sent.append(call)
        late = asyncio.ensure_future(self._arrive_late(call))
        self._under_way_late.add(late)
        late.add_done_callback(self._under_way_late.discard)
        await asyncio.sleep(self.timeout_seconds)
        return Answer(Outcome.IN_DOUBT, None, "no answer in time")

    async def _arrive_late(self, call: Call) -> None:
        await asyncio.sleep(self._rng.uniform(*self._profile.late_seconds))
        said = await self._serve(call, FINE, asyncio.Event())
        self._scheduler.tell(
            "third party", f"a late {call.kind} of order {call.order_id}: {said.status if said else None}"
        )

    @staticmethod
    def _draw_outage(rng: random.Random, profile: Profile) -> tuple[float, float]:
        """Every second run has one, which may outlast the third party's memory of keys."""
        begins = rng.uniform(5.0, profile.busy_seconds)
        lasts = rng.choice((20.0, 100.0, 250.0)) if rng.random() < profile.outages else 0.0
        return begins, begins + lasts

    @property
    def _is_out(self) -> bool:
        begins, ends = self._outage
        return begins <= self._scheduler.now_seconds < ends

    def _is_late(self) -> bool:
        if self._scheduler.is_fine or not self.may_overlap or self._is_out:
            return False
        return self._rng.random() < self._profile.third_party_faults / 10

    def _fault(self, _: object) -> Fault:
        if self._is_out:
            return self._rng.choice((Fault(unreachable=True), Fault(status=503), HANG))
        if self._scheduler.is_fine or self._rng.random() > self._profile.third_party_faults:
            return FINE
        if self._rng.random() < self._profile.refusals:
            return Fault(status=422)
        if self.may_overlap and self._rng.random() < self._profile.stalls:
            return Fault(stall_seconds=self._rng.choice(self._profile.stall_seconds))
        seconds = self._rng.choice(SLOW_SECONDS)
        return self._rng.choice(
            (
                Fault(before_seconds=seconds),
                Fault(after_seconds=seconds),
                Fault(status=self._rng.choice((500, 503, 429, 422))),
                Fault(lost_answer=True, before_seconds=seconds),
                Fault(unreachable=True),
                HANG,
            )
        )
