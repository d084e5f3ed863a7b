"""The faults that the sandbox third party can be told to show (contract.md, section 4)."""

import random
from dataclasses import dataclass
from typing import Annotated

import msgspec

from sandbox.third_party_server.requests import OrderId

MAX_LATENCY_MS = 300_000
MAX_RETRY_AFTER_SECONDS = 86_400
MAX_REJECTED_ORDERS = 100_000
MAX_KEY_RETENTION_SECONDS = 365 * 86_400

_Rate = Annotated[float, msgspec.Meta(ge=0, le=1)]


class InvalidFaults(ValueError):
    """The body isn't an object of known faults within their ranges; the text names the member."""


class Faults(msgspec.Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """`down` answers every call but `_sandbox` with 503 and no Retry-After; the connection stays whole.

    A key that first came `key_retention_seconds` ago is forgotten, and what comes with it then is a new call; null
    (the default) is for ever, 0 at once.

    A late call waits for `late_ms` in the queue of a proxy before it comes to us, and is carried out then, whether
    its caller is still there or not.

    `seed` starts the drawing afresh from that number, so that the same calls in the same order meet the same
    faults; null (the default) is a start that nobody can know.
    """

    latency_ms: Annotated[float, msgspec.Meta(ge=0, le=MAX_LATENCY_MS)] = 0
    error_rate: _Rate = 0
    error_status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 503
    retry_after_seconds: Annotated[int, msgspec.Meta(ge=0, le=MAX_RETRY_AFTER_SECONDS)] | None = None
    hang_rate: _Rate = 0
    lost_answer_rate: _Rate = 0
    late_rate: _Rate = 0
    late_ms: Annotated[float, msgspec.Meta(ge=0, le=MAX_LATENCY_MS)] = 0
    key_retention_seconds: Annotated[float, msgspec.Meta(ge=0, le=MAX_KEY_RETENTION_SECONDS)] | None = None
    reject_orders: Annotated[frozenset[OrderId], msgspec.Meta(max_length=MAX_REJECTED_ORDERS)] = frozenset()
    down: bool = False
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Roll:
    hang: bool
    error: bool
    lost_answer: bool


class FaultDraws:
    """Which calls are hit. Three numbers are drawn for every call, whatever the rates, so that a change of one
    rate doesn't move the others. Whether a call is late is drawn before it comes to us, from another stream."""

    def __init__(self, seed: int | None = None) -> None:
        self._rng = random.Random(seed)
        self._late_rng = random.Random(None if seed is None else seed + 1)

    def roll(self, faults: Faults) -> Roll:
        draw = self._rng.random
        return Roll(draw() < faults.hang_rate, draw() < faults.error_rate, draw() < faults.lost_answer_rate)

    def late_seconds(self, faults: Faults) -> float:
        return faults.late_ms / 1000 if self._late_rng.random() < faults.late_rate else 0.0


class FaultSwitch:
    """The faults in force, and which calls they hit."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.faults = Faults()
        self._draws = FaultDraws()

    def roll(self) -> Roll:
        return self._draws.roll(self.faults)

    def late_seconds(self) -> float:
        """How long the next call waits before it comes to us."""
        return self._draws.late_seconds(self.faults)

    def update(self, body: bytes) -> None:
        """Sets the members that a JSON object names; the others keep their values. Raises InvalidFaults."""
        try:
            named = msgspec.json.decode(body, type=dict[str, object])
            faults = msgspec.convert({**msgspec.to_builtins(self.faults), **named}, Faults)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise InvalidFaults(str(error)) from error
        self.faults = faults
        if "seed" in named:
            self._draws = FaultDraws(faults.seed)
