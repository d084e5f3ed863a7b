"""Intake over Kafka on a thread of its own, in this process."""

import secrets
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Self

from adapters.kafka.cluster import TopicIds
from adapters.kafka.consumer.consumer import KafkaIntake
from adapters.kafka.consumer.intake import BatchOutcome, Intake, Limits
from domain.decision import DEFAULT_POLICY, Policy
from domain.losses import StoppedPartition
from domain.ports import OrderStore, Partition, RewindSign
from tests.support.memory_store import MemoryStore
from tests.support.processes import QUICK_GROUP
from tests.support.waiting import DEADLINE_SECONDS, wait_until


class Watch:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self.doing = ""
        self.why: str | None = None
        self.refusals = 0
        """How often it was told why something doesn't work."""
        self.stopped: dict[str, StoppedPartition] = {}
        self.positions: Mapping[Partition, int | None] = {}
        self.rewinds: list[RewindSign] = []
        self.records = 0

    @property
    def state(self) -> str:
        return self.states[-1] if self.states else ""

    def batch_stored(self, outcome: BatchOutcome, seconds: float) -> None:
        self.records += outcome.records

    def positions_changed(self, positions: Mapping[Partition, int | None], ends: Mapping[Partition, int]) -> None:
        self.positions = dict(positions)

    def intake_state(self, state: str, why: str | None = None) -> None:
        self.why = why
        self.refusals += why is not None
        if self.state != state:
            self.states.append(state)

    def intake_doing(self, what: str) -> None:
        self.doing = what

    def partition_stopped(self, partition: str, why: StoppedPartition | None) -> None:
        if why is None:
            del self.stopped[partition]
        else:
            self.stopped[partition] = why

    def database_rewound(self, sign: RewindSign, found: str) -> None:
        self.rewinds.append(sign)


class RunningIntake:
    """Starts as it is made; ends with the `with` block, which fails if the thread died of an error."""

    def __init__(
        self,
        bootstrap: str,
        topics: Iterable[str],
        store: OrderStore,
        *,
        group: str = "test",
        topic_ids: TopicIds | None = None,
        config: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        policy: Policy = DEFAULT_POLICY,
        batch_size: int = 50,
    ) -> None:
        self.watch = Watch()
        self.intake = KafkaIntake(
            Intake(store, limits=limits, policy=policy),
            bootstrap=bootstrap,
            topics=topics,
            group=group,
            config=_quick(config or {}),
            batch_size=batch_size,
            listener=self.watch,
            topic_ids=topic_ids or TopicIds(bootstrap, {}),
        )
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="intake under test", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.intake.run(self._stop)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the test can see it
            self._error = error

    def wait_for_records(self, number: int) -> None:
        wait_until(lambda: self._error is not None or self.watch.records >= number, f"{number} records stored")
        self.check()

    def wait_for_state(self, state: str) -> None:
        wait_until(lambda: self._error is not None or self.watch.state == state, f"the state {state!r}")
        self.check()

    def wait_for_partitions(self, number: int) -> None:
        wait_until(lambda: self._error is not None or len(self.watch.positions) == number, f"{number} partitions")
        self.check()

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive(), "intake doesn't end"
        self.check()


def _quick(config: Mapping[str, Any]) -> dict[str, Any]:
    quick = {} if "group.protocol" in config else QUICK_GROUP  # there the broker says how long a session is
    return {**quick, "topic.metadata.refresh.interval.ms": 1000, **config}


def new_group() -> str:
    return f"group-{secrets.token_hex(4)}"


def undisturbed(bootstrap: str, topic: str, messages: int) -> MemoryStore:
    """What one reader makes of the topic that reads it from its beginning to its end."""
    store = MemoryStore()
    with RunningIntake(bootstrap, [topic], store, group=new_group(), batch_size=1000) as running:
        running.wait_for_records(messages)
    return store
