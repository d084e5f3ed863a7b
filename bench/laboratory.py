"""What the suites measure with: servers, databases, and the one way to measure a figure."""

import gc
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import uuid4

import psycopg

from adapters.postgres.migrate import migrate
from adapters.settings import Settings
from bench.arithmetic import Figure, Pair, ratios
from bench.results import Chapter, Measured
from bench.scales import Scale
from sandbox.servers.embedded_kafka import Broker, create_topic
from sandbox.servers.postgres import EmbeddedPostgres, create_database, drop_database
from sandbox.servers.supervisor import Supervisor

PARTITIONS: Final = 6
QUICK_GROUP: Final = {"session.timeout.ms": "1500", "heartbeat.interval.ms": "300"}
"""The embedded broker lets a group wait for half of the session's time-out before anything is read."""
_PRELOAD: Final = "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'"
_DO_NOT_TRACK: Final = "ALTER SYSTEM SET pg_stat_statements.track = 'none'"

Measure = Callable[[], float]

BATCH_SIZE: Final[int] = Settings.model_fields["intake_batch_size"].default
CONCURRENCY: Final[int] = Settings.model_fields["push_concurrency"].default


class Suite(Protocol):
    """A module of `bench.suites`."""

    @property
    def NAME(self) -> str:  # noqa: N802 - a constant of the module
        """For `--only`."""
        ...

    @property
    def TITLE(self) -> str: ...  # noqa: N802
    @property
    def ABOUT(self) -> str:  # noqa: N802
        """How it is measured, for the document."""
        ...

    def run(self, lab: "Laboratory") -> None: ...


@dataclass(slots=True)
class Laboratory:
    """The servers of a run, and the chapter that is being written."""

    scale: Scale
    rounds: int
    folder: Path
    postgres_url: str
    broker: Broker
    chapter: Chapter
    report: Callable[[str], None]
    alone: bool = False
    """Nothing but this suite was asked for."""

    @property
    def bootstrap(self) -> str:
        return self.broker.bootstrap

    @property
    def kafka_config(self) -> dict[str, Any]:
        return {**self.broker.client_config, **QUICK_GROUP}

    def compare(self, figure: Figure, ours: Measure, reference: Measure, *, rounds: int | None = None) -> Measured:
        """Ours, the reference, ours, the reference …"""
        pairs: list[Pair] = []
        rounds = rounds or self.rounds
        for number in range(1, rounds + 1):
            self.report(f"{figure.title}: round {number} of {rounds}")
            mine = _undisturbed(ours)
            pair = Pair(mine, _undisturbed(reference))
            pairs.append(pair)
            self.report(f"    {pair.ours:,.4g} against {pair.reference:,.4g} {figure.unit}: {pair.ratio:.3f}")
        return self.note(figure, pairs)

    def note(self, figure: Figure, pairs: Sequence[Pair]) -> Measured:
        measured = Measured(figure, list(pairs))
        self.chapter.measured.append(measured)
        found = ratios(measured.pairs)
        self.report(f"  {figure.name}: {found.median:.3f} ({found.low:.3f} … {found.high:.3f})")
        return measured

    def topic(self, partitions: int = PARTITIONS) -> str:
        name = f"bench-{uuid4().hex[:12]}"
        create_topic(self.bootstrap, name, partitions)
        return name

    @contextmanager
    def database(self, *, template: str | None = None, empty: bool = False) -> Iterator[str]:
        """A migrated database, or a copy of another to which nobody is connected; dropped with the context."""
        name = f"bench_{uuid4().hex}"
        if template is None:
            url = create_database(self.postgres_url, name)
            if not empty:
                migrate(url)
        else:
            url = self._copy(template, name)
        try:
            yield url
        finally:
            drop_database(url)

    def _copy(self, template: str, name: str) -> str:
        source = template.rpartition("/")[2]
        with psycopg.connect(self.postgres_url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{source}"')
        return f"{template.rpartition('/')[0]}/{name}"

    def settings(self, **more: object) -> Mapping[str, object]:
        """Of processes of ours against these servers, in a group of their own."""
        ours = {
            "kafka_bootstrap": self.bootstrap,
            "kafka_config": json.dumps(self.kafka_config),
            "kafka_group": f"bench-{uuid4().hex[:12]}",
        }
        return ours | more


def _undisturbed(measure: Measure) -> float:
    """What this process holds already isn't looked through for garbage meanwhile: a service wouldn't hold it."""
    gc.collect()
    gc.freeze()
    try:
        return measure()
    finally:
        gc.unfreeze()


def start_postgres(folder: Path, supervisor: Supervisor) -> str:
    """Durable, with its statement statistics loaded and switched off; returns its URL."""
    postgres = supervisor.add(EmbeddedPostgres(folder))
    with psycopg.connect(postgres.start(), autocommit=True) as connection:
        connection.execute(_PRELOAD)
    postgres.stop()
    with psycopg.connect(postgres.start(), autocommit=True) as connection:
        connection.execute(_DO_NOT_TRACK)
        connection.execute("SELECT pg_reload_conf()")
    return postgres.url
