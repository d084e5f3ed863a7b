"""One order against models of a few lines: told on one partition, and told by number."""

from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from msgspec.structs import replace

from domain.events import Accepted, Doubt
from domain.messages import Kind, Message
from tests.support.deliveries import POLICY
from tests.support.messages import History, message

if TYPE_CHECKING:
    from decimal import Decimal

kinds = st.sampled_from(Kind)
dates = st.integers(min_value=-100, max_value=100)
amounts = st.sampled_from(["0", "1", "2.50", "3"])


class Model:
    """What the messages should come to, told in the true order: no dates, no versions, no evidence."""

    def __init__(self) -> None:
        self.status = "NOT_CREATED"
        self.amount: Decimal | None = None
        self.early: list[Message] = []
        self.created: Decimal | None = None
        self.calls: list[str] = []
        self.refused = 0
        self.doubts: set[Doubt] = set()

    def tell(self, said: Message) -> None:
        if said.is_negative:
            self.refused += 1
            self.doubts.add(Doubt.NEGATIVE_CASHBACK)
        elif self.status == "NOT_CREATED" and said.kind is not Kind.CREATED:
            self.early.append(said)
        elif self.status == "NOT_CREATED":
            self.created = said.cashback
            self._accept("PENDING", said)
            while self.early:
                self.tell(self.early.pop(0))
        elif self.status == "PENDING" and said.kind is Kind.UPDATED:
            self._accept("PENDING", said)
        elif self.status == "PENDING" and said.kind.is_end:
            self._accept(said.kind.value, said)
        else:
            self.refused += 1
            self._doubt(said)

    def _doubt(self, said: Message) -> None:
        """What is refused and would have changed the order."""
        if said.kind is Kind.CREATED:
            if said.cashback != self.created:
                self.doubts.add(Doubt.CREATED_TWICE)
        elif said.kind is Kind.UPDATED:
            if self.status == "COMPLETED" and said.cashback != self.amount:
                self.doubts.add(Doubt.AFTER_END)
        elif said.kind.value != self.status:
            self.doubts.add(Doubt.AFTER_END)

    def _accept(self, status: str, said: Message) -> None:
        self.status = status
        self.amount = self.amount if said.cashback is None else said.cashback
        self.calls.append(said.transaction_id)


class OnePartition(RuleBasedStateMachine):
    """Messages of any kind, with any dates, at growing offsets; repeats, contradictions and negative amounts."""

    told = Bundle("told")

    @initialize()
    def start(self) -> None:
        self.history = History(policy=POLICY)
        self.model = Model()
        self.offset = 0
        self.contradictions = 0
        self.dates: list[int] = []

    @rule(
        target=told,
        kind=kinds,
        at_ns=dates,
        cashback=amounts,
        negative=st.sampled_from([False, False, False, True]),
    )
    def publish(self, kind: Kind, at_ns: int, cashback: str, *, negative: bool) -> Message:
        said = message(
            kind,
            at_ns=at_ns,
            offset=self.offset,
            cashback=cashback,
            negative=negative and not kind.is_end,
            transaction=f"t{self.offset}",
        )
        self.offset += 1
        self.dates.append(at_ns)
        assert self.history.tell(said)
        self.model.tell(said)
        return said

    @rule(said=told)
    def publish_again(self, said: Message) -> None:
        assert self.history.tell(replace(said, offset=self.offset)) == ()
        self.offset += 1

    @rule(said=told)
    def read_again(self, said: Message) -> None:
        assert self.history.tell(said) == ()

    @rule(said=told, same_id=st.booleans())
    def contradict(self, said: Message, *, same_id: bool) -> None:
        content = f"c{self.offset}"
        changes = {"digest": content, "identity": said.identity if same_id else content, "offset": self.offset}
        (event,) = self.history.tell(replace(said, **changes))
        assert event.doubt is Doubt.CONFLICT
        self.offset += 1
        self.contradictions += 1

    @invariant()
    def agrees(self) -> None:
        order = self.history.order
        assert order.status == self.model.status
        assert (order.terms.cashback if order.terms else None) == self.model.amount
        assert [held.message for held in order.held] == self.model.early
        assert [event.message.transaction_id for event in self.history.accepted] == self.model.calls
        assert order.rejected == self.model.refused + self.contradictions
        contradicted = {Doubt.CONFLICT} if self.contradictions else set()
        assert order.doubts - {Doubt.UNCERTAIN_ORDER} <= self.model.doubts | contradicted
        assert contradicted <= order.doubts
        if self.dates == sorted(self.dates):
            assert order.doubts == self.model.doubts | contradicted
        assert bool(order.doubts) >= bool(self.model.doubts)


class Stamped(RuleBasedStateMachine):
    """Numbered messages of any kind with any dates, published on any partitions and delivered in any order."""

    on_the_way = Bundle("on_the_way")
    delivered = Bundle("delivered")

    @initialize()
    def start(self) -> None:
        self.history = History(policy=POLICY)
        self.model = Model()
        self.published = 0
        self.waiting: dict[int, Message] = {}
        self.next_number = 1

    @rule(target=on_the_way, kind=kinds, at_ns=dates, cashback=amounts, partition=st.integers(0, 3))
    def publish(self, kind: Kind, at_ns: int, cashback: str, partition: int) -> Message:
        self.published += 1
        return message(
            kind,
            at_ns=at_ns,
            offset=self.published,
            partition=partition,
            cashback=cashback,
            transaction=f"t{self.published}",
            sequence=self.published,
        )

    @rule(target=delivered, said=consumes(on_the_way))
    def deliver(self, said: Message) -> Message:
        assert self.history.tell(said)
        assert said.sequence is not None
        self.waiting[said.sequence] = said
        while self.next_number in self.waiting:
            self.model.tell(self.waiting.pop(self.next_number))
            self.next_number += 1
        return said

    @rule(said=delivered, partition=st.integers(0, 3))
    def deliver_again(self, said: Message, partition: int) -> None:
        assert self.history.tell(replace(said, partition=partition)) == ()

    @invariant()
    def agrees(self) -> None:
        order = self.history.order
        assert order.status == self.model.status
        assert (order.terms.cashback if order.terms else None) == self.model.amount
        expected = [each.transaction_id for each in (*self.model.early, *self.waiting.values())]
        assert sorted(held.message.transaction_id for held in order.held) == sorted(expected)
        assert [event.message.transaction_id for event in self.history.accepted] == self.model.calls
        assert order.rejected == self.model.refused
        assert order.last_sequence == self.next_number - 1
        assert order.doubts == self.model.doubts
        stated = [event.stated_at_ns for event in self.history.events if isinstance(event, Accepted)]
        assert stated == sorted(stated)


TestOnePartition = OnePartition.TestCase
TestOnePartition.settings = settings(stateful_step_count=30)
TestStamped = Stamped.TestCase
TestStamped.settings = settings(stateful_step_count=30)
