"""The sandbox third party's books: its rules, its idempotency keys, and every violation. No HTTP here.

The rules are those of contract.md, section 4. What it leaves open is decided so:

- Only applied calls are frozen under their key. A refusal (404, 409, 422 "rejected") is judged anew when the
  same call comes again, because our caller's key never changes: a frozen refusal could never be repaired. Stripe's
  first API froze refusals too; its second judges them anew. The key stays bound to the refused call's body.
- Calls that never were judged (injected faults, wrong shape, wrong token) leave their key unused.
- A completion of another amount than the pending one is refused (409 "amount_mismatch").
- A correction is taken for a completed order only, any number of times. It sets the amount and books the
  difference, up or down: it is no second credit.
- A call with an older transactionDate is a violation, but it is applied if its order's state allows it.
- A second completion, or a create of an order that was created before and not cancelled, is a `second_credit`;
  every other call on an unknown or ended order is an `illegal_call`. Repeats with the applied call's key are
  neither.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from time import time_ns
from typing import Any, Literal

from domain.exact_json import dumps
from sandbox.third_party_server.booked_orders import BookedOrder, BookedOrders, order_after, order_from
from sandbox.third_party_server.call_log import CallLog, Outcome, ReceivedCall
from sandbox.third_party_server.calls_in_progress import CallsInProgress
from sandbox.third_party_server.journal import Journal, JournalError
from sandbox.third_party_server.requests import CashbackRequest, Operation, digest

MAX_ORDERS = 1_000_000
MAX_KEYS = 4_000_000
MAX_KEPT_VIOLATIONS = 100_000

ViolationKind = Literal["second_credit", "missing_key", "overlap", "wrong_order", "illegal_call", "amount_mismatch"]


@dataclass(frozen=True, slots=True)
class Reply:
    """`body` is JSON. `hit`: it was given before, and nothing was done this time."""

    status: int
    body: bytes
    hit: bool = False
    retry_after_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Violation:
    """`call_number` is the number in the log of the process that wrote the violation down."""

    kind: ViolationKind
    order_id: int | None
    detail: str
    time_ns: int
    call_number: int


@dataclass(frozen=True, slots=True)
class _KeyUse:
    """`answer` is None while the key has only met refusals."""

    digest: bytes
    answer: Reply | None
    first_ns: int


def refusal(status: int, code: str, detail: str) -> Reply:
    """A problem (RFC 9457) with a `code` for programs."""
    problem = {"type": "about:blank", "title": code.replace("_", " "), "status": status, "code": code}
    return Reply(status, dumps({**problem, "detail": detail}))


class Books:
    """A call's way: `arrive` with its headers, `enter` once it's read, `claim_key`, `judge`, and always `leave`.

    With a `journal` the orders, keys and violations outlive the process; the log doesn't, and of an order's calls
    only the applied ones are still counted.
    Raises JournalError or OSError if the file can't be used.
    """

    def __init__(self, *, journal: Path | None = None, clock_ns: Callable[[], int] = time_ns) -> None:
        self._clock_ns = clock_ns
        self._start_afresh()
        self._journal = Journal(journal) if journal is not None else None
        if self._journal is not None:
            try:
                self._restore(self._journal)
            except BaseException:
                self._journal.close()
                raise

    def _start_afresh(self) -> None:
        self.orders = BookedOrders()
        self.log = CallLog()
        self.violations: deque[Violation] = deque(maxlen=MAX_KEPT_VIOLATIONS)
        self.violation_count = 0
        self.mutating_calls = 0
        self.calls_by_order: dict[int, int] = {}  # the known orders' mutating calls, whatever their outcome
        self._keys: dict[str, _KeyUse] = {}
        self._in_progress = CallsInProgress()

    def reset(self) -> None:
        """Empties everything, the journal too. Calls in progress are cut and won't be applied."""
        self._in_progress.abandon_all()
        if self._journal is not None:
            self._journal.clear()
        self._start_afresh()

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    # A call's way through

    def arrive(self) -> int:
        """A call's headers are there: it is in progress from now on. Gives its `arrived_tick`."""
        return self._in_progress.arrive()

    def vanish(self, arrived_tick: int) -> None:
        """The caller left before the body was there: it never became a call."""
        self._in_progress.arrived(arrived_tick)

    def enter(self, call: ReceivedCall) -> None:
        """Writes the call down, and what is wrong with it whatever its outcome: no key, an overlap."""
        call.started_ns = self._clock_ns()
        self.log.append(call)
        if call.mutating:
            if call.key is None:
                self._violated("missing_key", call, "no Idempotency-Key")
            overlap = self._in_progress.enter(call) if call.order_id is not None else None
            if overlap is not None:
                self._violated("overlap", call, overlap)
        self._in_progress.arrived(call.arrived_tick)

    def claim_key(self, call: ReceivedCall) -> Reply | None:
        """Refuses a second call with a key whose first is still in progress."""
        holder = self._in_progress.claim_key(call)
        if holder is None:
            return None
        return refusal(409, "in_flight", f"call {holder.number} with this key is still in progress")

    def judge(
        self,
        call: ReceivedCall,
        request: CashbackRequest,
        *,
        reject: bool = False,
        key_retention_ns: int | None = None,
    ) -> Reply:
        """Applies the call or refuses it; `reject` refuses it unless it has been applied before. A key that first
        came so long ago is forgotten; without `key_retention_ns` none is.

        Raises OSError when the journal can't be written; then nothing has been applied.
        """
        assert call.key is not None
        sent = digest(call.method, call.path, call.body)
        known = self._known(call.key, key_retention_ns)
        if known is not None and known.digest != sent:
            return refusal(422, "key_reused", "this Idempotency-Key came before with another call")
        if known is not None and known.answer is not None:
            call.hit = True
            return replace(known.answer, hit=True)
        if self._is_full(request.operation):
            return refusal(503, "full", "the sandbox's books are full")
        self._remember(call.key, _KeyUse(sent, None, known.first_ns if known else self._clock_ns()))
        if reject:
            return refusal(422, "rejected", f"order {request.order_id} is to be rejected")
        order = self.orders.get(request.order_id)
        return self._refuse(call, request, order) or self._apply(call, request, order, sent)

    def leave(self, call: ReceivedCall, outcome: Outcome, status: int | None = None) -> None:
        """The answer has been sent, or the connection is gone."""
        call.ended_ns, call.outcome, call.status = self._clock_ns(), outcome, status
        call.forget_client()
        self._in_progress.leave(call)
        if call.mutating and not call.abandoned:
            self._count(call.order_id)

    def lookup(self, order_id: int) -> Reply:
        order = self.orders.get(order_id)
        return refusal(404, "unknown_order", f"no order {order_id}") if order is None else _reply(200, order)

    # The rules

    def _refuse(self, call: ReceivedCall, request: CashbackRequest, order: BookedOrder | None) -> Reply | None:
        operation = request.operation
        if order is None and operation is Operation.CREATE:
            return None
        if order is None:
            self._violated("illegal_call", call, f"{operation} of an unknown order")
            return refusal(404, "unknown_order", f"no order {request.order_id}")
        if request.instant_ns < order.last_instant_ns:
            dates = f"{request.transaction_date} after {order.last_transaction_date}"
            self._violated("wrong_order", call, f"{operation} of {dates}")
        attempt = f"{operation} of a {order.status.lower()} order"
        if operation is Operation.CORRECT and order.status == "COMPLETED":
            return None
        if order.status != "PENDING" or operation is Operation.CORRECT:
            pays_again = order.status == "COMPLETED" and operation in {Operation.CREATE, Operation.COMPLETE}
            self._violated("second_credit" if pays_again else "illegal_call", call, attempt)
            return refusal(409, "illegal_state", attempt)
        if operation is Operation.CREATE:
            self._violated("second_credit", call, attempt)
            return refusal(409, "already_exists", attempt)
        if operation is Operation.COMPLETE and request.amount != order.amount:
            amounts = f"completion of {request.amount}, but {order.amount} is pending"
            self._violated("amount_mismatch", call, amounts)
            return refusal(409, "amount_mismatch", amounts)
        return None

    def _apply(self, call: ReceivedCall, request: CashbackRequest, order: BookedOrder | None, sent: bytes) -> Reply:
        assert call.key is not None
        changed = order_after(order, request)
        answer = _reply(201 if order is None else 200, changed)
        if self._journal is not None:
            record = {"key": call.key, "digest": sent.hex(), "status": answer.status, "answer": changed.answer()}
            self._journal.append({**record, "buyerId": changed.buyer_id, "storeNo": changed.store_no})
        self._keys[call.key] = _KeyUse(sent, answer, self._keys[call.key].first_ns)
        self.orders.put(changed)
        call.applied = True
        return answer

    def _is_full(self, operation: Operation) -> bool:
        if self._journal is not None and self._journal.is_full:
            return True
        return operation is Operation.CREATE and len(self.orders) >= MAX_ORDERS

    def _count(self, order_id: int | None) -> None:
        self.mutating_calls += 1
        if order_id is not None and self.orders.get(order_id) is not None:
            self.calls_by_order[order_id] = self.calls_by_order.get(order_id, 0) + 1

    def _known(self, key: str, key_retention_ns: int | None) -> _KeyUse | None:
        known = self._keys.get(key)
        if known is None or key_retention_ns is None or self._clock_ns() - known.first_ns < key_retention_ns:
            return known
        del self._keys[key]
        return None

    def _remember(self, key: str, use: _KeyUse) -> None:
        self._keys[key] = use
        if len(self._keys) > MAX_KEYS:  # a tenth at once: taking the first key of a dict over and over is slow
            for oldest in list(islice(self._keys, MAX_KEYS // 10)):
                del self._keys[oldest]

    def _violated(self, kind: ViolationKind, call: ReceivedCall, detail: str) -> None:
        violation = Violation(kind, call.order_id, detail, self._clock_ns(), call.number)
        self._note(violation)
        if self._journal is not None:
            record = {"violation": kind, "orderId": call.order_id, "detail": detail}
            self._journal.append({**record, "timeNs": violation.time_ns, "call": call.number})

    def _note(self, violation: Violation) -> None:
        self.violations.append(violation)
        self.violation_count += 1

    def _restore(self, journal: Journal) -> None:
        try:
            for record in journal.records():
                self._restore_record(record)
        except (KeyError, TypeError, ValueError) as error:
            raise JournalError(f"the journal has a record that isn't the third party's: {error!r}") from error

    def _restore_record(self, record: dict[str, Any]) -> None:
        if "violation" in record:
            kind, detail, call_number = record["violation"], record["detail"], record["call"]
            self._note(Violation(kind, record["orderId"], detail, record["timeNs"], call_number))
            return
        answer = record["answer"]
        before = self.orders.get(answer["orderId"])
        order = order_from(answer, record["buyerId"], record["storeNo"], before)
        self.orders.put(order)
        self._count(order.order_id)
        use = _KeyUse(bytes.fromhex(record["digest"]), _reply(record["status"], order), self._clock_ns())
        self._remember(record["key"], use)


def _reply(status: int, order: BookedOrder) -> Reply:
    return Reply(status, dumps(order.answer()))
