"""Delivery by real processes of ours, or by the references without a database, to the sandbox third party."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec
import psycopg

from bench.laboratory import CONCURRENCY, Laboratory
from bench.processes import App, RunningThirdParty, third_party, wait_until
from bench.stores import append, fetch_row, queues_of
from domain.events import OrderEvent
from projections.delivery.ports import Call

CALLS_PER_ORDER: Final = 2.8
"""Of the simulated lifecycles, about."""
MOST_CALLS_PER_SECOND: Final = 1_500
"""What is reckoned with for the size of a measurement; no limit."""
DEADLINE_SECONDS: Final = 120.0

LAST_ATTEMPT: Final = "SELECT /* bench */ coalesce(max(id), 0) FROM attempt"
DELIVERED: Final = (
    "SELECT /* bench */ count(*), extract(epoch FROM max(started_at + duration_ms * interval '1 millisecond')"
    " - min(started_at))::float8 FROM attempt WHERE id > %s AND outcome = 'delivered'"
)
"""How many calls after that attempt, and the seconds from the first begun to the last ended."""


def orders_for(seconds: float, latency_ms: float, concurrency: int) -> int:
    """How many orders keep a dispatcher busy for about so long."""
    rate = min(MOST_CALLS_PER_SECOND, concurrency * 1000 / max(latency_ms, 1))
    return max(20, round(seconds * rate / CALLS_PER_ORDER))


class Pushing:
    """A database, `serve --only push` in some processes over it, and the third party that they call."""

    def __init__(self, lab: Laboratory, database_url: str, party: RunningThirdParty, apps: Sequence[App]) -> None:
        self.party = party
        self.database_url = database_url
        self._lab = lab
        self._children = [app.child for app in apps]
        self._connection = psycopg.connect(database_url, autocommit=True)

    def ours(self, events: Sequence[OrderEvent], *, healthy: Callable[[int], bool] = lambda _: True) -> float:
        """Calls a second of the healthy orders, from the first begun to the last ended.

        The events are appended while the processes stand ready, so the projection that feeds them is in it.
        """
        expected = sum(map(len, queues_of([event for event in events if healthy(event.order_id)])))
        last = self.one(LAST_ATTEMPT)[0]
        append(self.database_url, events)
        found: list[Any] = [0, 0.0]

        def done() -> bool:
            found[:] = self.one(DELIVERED, last)
            return bool(found[0] >= expected)

        wait_until(done, f"{expected} calls", DEADLINE_SECONDS, *self._children, self.party.app.child)
        return expected / float(found[1])

    def one(self, query: str, *parameters: object) -> tuple[Any, ...]:
        return tuple(fetch_row(self._connection, query, parameters))

    def bare(
        self, queues: Sequence[Sequence[Call]], *, processes: int = 1, concurrency: int = CONCURRENCY
    ) -> float:
        """Calls a second without a database: the queues spread over so many processes."""
        return call_bare(self._lab.folder, self.party, queues, processes=processes, concurrency=concurrency)

    def close(self) -> None:
        self._connection.close()


@contextmanager
def pushing(
    lab: Laboratory,
    *,
    processes: int = 1,
    failing: bool = False,
    database_url: str | None = None,
    settings: Mapping[str, object] | None = None,
) -> Iterator[Pushing]:
    """All of it, ready to send; in a database of its own unless one is given."""
    with ExitStack() as stack:
        url = database_url or stack.enter_context(lab.database())
        party = stack.enter_context(third_party(lab.folder, failing=failing))
        apps = [
            stack.enter_context(
                App.of(
                    lab.folder,
                    *("serve", "--only", "push"),
                    **lab.settings(database_url=url, third_party_url=party.url, **settings or {}),
                )
            )
            for _ in range(processes)
        ]
        for app in apps:
            app.line("started")
        parts = Pushing(lab, url, party, apps)
        stack.callback(parts.close)
        yield parts
        party.check()


def call_bare(
    folder: Path, party: RunningThirdParty, queues: Sequence[Sequence[Call]], *, processes: int, concurrency: int
) -> float:
    """Calls a second, from the first begun to the last ended."""
    name = folder / f"calls-{uuid4().hex}"
    go = name.with_suffix(".go")
    with ExitStack() as stack:
        apps = []
        for number in range(processes):
            file = name.with_suffix(f".{number}")
            file.write_bytes(msgspec.json.encode(queues[number::processes]))
            arguments = (str(file), str(go), party.url, str(concurrency))
            apps.append(stack.enter_context(App.module(folder, "bench.references.bare_caller", *arguments)))
        for app in apps:
            app.line("ready")
        go.touch()
        results = [app.result(DEADLINE_SECONDS) for app in apps]
    seconds = max(each["ended"] for each in results) - min(each["started"] for each in results)
    return float(sum(each["calls"] for each in results) / seconds)
