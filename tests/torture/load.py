"""The order service under torture: whole lifecycles, out of order, doubled, nonsense among them, and the truth."""

import threading
import time
from typing import Final

from adapters.kafka.producer.publisher import Publisher, PublishError
from adapters.records.publishing import Delivered, Outgoing
from sandbox.order_service.chaos import Chaos, Departure, Disorder, Stage
from sandbox.order_service.lifecycles import OrderMessage, lifecycles
from sandbox.order_service.simulator import schedule_of
from sandbox.servers.embedded_kafka import SILENT

DISORDER: Final = frozenset({Disorder.SHUFFLED, Disorder.DELAYED, Disorder.DOUBLED, Disorder.POISON})
"""What changes nothing about where an order with sequence numbers ends."""
DELIVERY_SECONDS: Final = 600.0
_POLL_SECONDS: Final = 0.05


class Load:
    """Ends by itself: no order begins after so many seconds, and those that have begun come to their end."""

    def __init__(self, bootstrap: str, topic: str, *, seed: int, rate: float, seconds: float) -> None:
        self.messages: list[OrderMessage] = []
        """What was published, in no order and without copies."""
        self.error: str | None = None
        self._bootstrap = bootstrap
        self._topic = topic
        self._ends: dict[int, int] = {}
        self._orders = max(1, round(rate * seconds))
        self._seed, self._schedule = seed, schedule_of(rate)
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    @property
    def confirmed(self) -> int:
        """Records on the topic."""
        return sum(dict(self._ends).values())

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        started_at_ns, began = time.time_ns(), time.monotonic()
        stage = Stage(Chaos(DISORDER), self._seed, self._schedule, 1)
        told = lifecycles(
            self._seed, self._orders, first_order_id=1, started_at_ns=started_at_ns, schedule=self._schedule
        )
        with Publisher(
            self._bootstrap, config={"log_level": SILENT}, delivery_timeout_seconds=DELIVERY_SECONDS
        ) as publisher:
            for departure in stage.disturb(told):
                due = began + (departure.leaves_at_ns - started_at_ns) / 1e9
                while (wait := due - time.monotonic()) > 0:
                    publisher.poll()
                    time.sleep(min(wait, _POLL_SECONDS))
                self._publish(publisher, departure)
            publisher.flush(DELIVERY_SECONDS)

    def _publish(self, publisher: Publisher, departure: Departure) -> None:
        if departure.message is not None and not departure.is_copy:
            self.messages.append(departure.message)
        said = Outgoing(self._topic, departure.key, departure.value, departure.headers)
        publisher.publish(said, self._confirm)

    def _confirm(self, verdict: Delivered | PublishError) -> None:
        if isinstance(verdict, PublishError):
            self.error = str(verdict)
            return
        self._ends[verdict.partition] = max(verdict.offset + 1, self._ends.get(verdict.partition, 0))
