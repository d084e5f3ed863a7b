"""Why something that a person asked for isn't done: then nothing has changed."""

from datetime import date, datetime
from uuid import UUID

from domain.errors import CashbackError, Unavailable


class UnknownOrder(CashbackError):
    """The order has no events."""

    def __init__(self, order_id: int) -> None:
        super().__init__(f"order {order_id} has no events")
        self.order_id = order_id


class UnknownVersion(CashbackError):
    """The order has no such event, or none that can be shown so."""

    def __init__(self, order_id: int, version: int) -> None:
        super().__init__(f"order {order_id} has no message of version {version} to show")


class UnknownQuarantined(CashbackError):
    def __init__(self, quarantine_id: int) -> None:
        super().__init__(f"there is no message {quarantine_id} in quarantine")


class Refused(CashbackError):
    """Base of what the state of things doesn't allow."""

    state: str | None = None


class NotPossible(Refused):
    """The order's calls don't stand as the request needs them."""

    def __init__(self, order_id: int, state: str, why: str) -> None:
        super().__init__(f"order {order_id} is {state}: {why}")
        self.state = state


class StillDoubtful(Refused):
    """An order's completion waits until a person has settled what is in doubt about it."""

    state = "parked"

    def __init__(self, order_id: int) -> None:
        super().__init__(
            f"order {order_id} is parked as doubtful: settle the doubt first, with"
            f" POST /api/orders/{order_id}/settle or `python app.py settle {order_id}`"
        )


class NothingToDo(Refused):
    """Nobody's decision is needed. The text says what is true instead."""


class DayNotBegun(Refused):
    """There is nothing to be said of a day that is still to come."""

    def __init__(self, day: date) -> None:
        super().__init__(f"{day} (UTC) hasn't begun")


class OrderChanged(CashbackError):
    """The order isn't what whoever asks has seen."""

    def __init__(self, order_id: int) -> None:
        super().__init__(f"order {order_id} has changed since it was looked at: look again, then decide")


class KeyReused(CashbackError):
    """An `Idempotency-Key` came with another request."""

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key came before, with another request")


class SameRequestUnderWay(Refused):
    """A request with the same `Idempotency-Key` is not answered yet."""

    state = "in_flight"

    def __init__(self) -> None:
        super().__init__("a request with this Idempotency-Key is under way; ask again")


class AnswerLost(Refused):
    """A request with the same `Idempotency-Key` has been carried out, and the answer to it was lost."""

    state = "done"

    def __init__(self) -> None:
        super().__init__(
            "a request with this Idempotency-Key was carried out, and its answer was lost: look at GET /api/audit"
        )


class UnderWay(Refused):
    """A dispatcher has the order: a call may be under way at this moment."""

    state = "in_flight"

    def __init__(self, order_id: int, until: datetime) -> None:
        super().__init__(
            f"order {order_id} is in_flight: a call may be under way, until {until:%H:%M:%S}Z at most; try again"
        )


class AnotherCall(Refused):
    """It is not the turn of the call that was named."""

    def __init__(self, order_id: int, named: int, head: int) -> None:
        super().__init__(f"order {order_id} stands at call {head}, not at {named}")


class NonceUsed(Refused):
    """The order's calls had keys of this nonce before, and have others now."""

    def __init__(self, order_id: int, nonce: str) -> None:
        super().__init__(f"order {order_id} had keys made with {nonce!r} before: take a nonce that is new to it")


class NotOpen(Refused):
    """A message in quarantine was dealt with before."""

    def __init__(self, quarantine_id: int, state: str) -> None:
        super().__init__(f"message {quarantine_id} is {state} already")
        self.state = state


class StillUnreadable(CashbackError):
    """A message in quarantine can't be read by today's decoder either."""

    def __init__(self, quarantine_id: int, reason: str, detail: str) -> None:
        super().__init__(f"message {quarantine_id} can't be read, {reason}: {detail}")
        self.reason = reason


class DoneBefore(CashbackError):
    """The bulk replay has done this order already. Nobody is told: it counts as done."""

    def __init__(self, bulk_id: UUID, order_id: int) -> None:
        super().__init__(f"bulk replay {bulk_id} has done order {order_id}")


class KafkaUnreachable(Unavailable):
    """No broker answers at the addresses given."""


class PartlyPublished(CashbackError):
    """A message was not confirmed; those before it were, those after it were not sent."""

    def __init__(self, published: int, total: int, reason: str) -> None:
        super().__init__(f"{published} of {total} messages were published: {reason}")
        self.published = published
        self.total = total
