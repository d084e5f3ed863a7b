"""What goes wrong: each kind begins, lasts for as long as it is told, and ends."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from random import Random
from signal import SIGKILL, SIGQUIT
from typing import Final, NamedTuple

import psycopg

from tests.support.hindrances import frozen, setting
from tests.support.rewinding import ReplacedFolder
from tests.support.tcp_proxy import TcpProxy, delayed
from tests.support.waiting import gone, wait_until
from tests.torture.world import World

LATE_MS: Final = 8000
"""A late request is carried out within so long: less than ten of the call's time-outs."""
SHORT_SECONDS: Final = (0.2, 4.0)
LONG_SECONDS: Final = (5.0, 18.0)
LONG_SHARE: Final = 0.3
TWO_AT_ONCE_SHARE: Final = 0.3
WAITS_SHARE: Final = 0.6
"""So often the next fault waits until all is up to date again; else it comes into the recovery."""

Fault = Callable[[World, Random], AbstractContextManager[None]]


class Kind(NamedTuple):
    """Of faults. Two of one place are never at once."""

    place: str
    what: str
    begin: Fault
    makes_late: bool = False
    """Whether requests may come to the third party after whoever sent them has given them up."""

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


class Step(NamedTuple):
    kinds: tuple[Kind, ...]
    seconds: float
    waits: bool


def plan(rng: Random, kinds: list[Kind]) -> Iterator[Step]:
    """Without end. Each kind comes once in each round, as the first of its step."""
    while True:
        for first in rng.sample(kinds, len(kinds)):
            both = [first]
            if rng.random() < TWO_AT_ONCE_SHARE:
                both.append(rng.choice([kind for kind in kinds if kind.place != first.place]))
            seconds = rng.uniform(*(LONG_SECONDS if rng.random() < LONG_SHARE else SHORT_SECONDS))
            yield Step(tuple(both), seconds, rng.random() < WAITS_SHARE)


# Services


@contextmanager
def _killed(world: World, _: Random) -> Iterator[None]:
    """Always the first: what the second takes shows whether anything grows."""
    world.services[0].kill()
    yield
    world.services[0].revive()


@contextmanager
def _frozen_service(world: World, rng: Random) -> Iterator[None]:
    pid = rng.choice(world.services).pid
    if not pid:  # it was started in vain, and is about to be started again
        yield
        return
    with frozen(pid):
        yield


# Wires

Wire = Callable[[World], TcpProxy]


def _cut(wire: Wire) -> Fault:
    @contextmanager
    def cut(world: World, _: Random) -> Iterator[None]:
        """At the beginning and at the end."""
        wire(world).cut()
        yield
        wire(world).cut()

    return cut


def _slow(wire: Wire) -> Fault:
    def slow(world: World, rng: Random) -> AbstractContextManager[None]:
        return delayed(wire(world), rng.choice((0.02, 0.2, 1.0)))

    return slow


def _swallowed(wire: Wire) -> Fault:
    @contextmanager
    def swallowed(world: World, _: Random) -> Iterator[None]:
        wire(world).blackhole()
        yield
        wire(world).renew()

    return swallowed


def _held(wire: Wire) -> Fault:
    @contextmanager
    def held(world: World, _: Random) -> Iterator[None]:
        wire(world).blackhole()
        yield
        wire(world).release()

    return held


def _wire_kinds(place: str, wire: Wire, *, is_third_party: bool = False) -> list[Kind]:
    return [
        Kind(place, "connections cut", _cut(wire)),
        Kind(place, "slow wire", _slow(wire), makes_late=is_third_party),
        Kind(place, "everything swallowed", _swallowed(wire), makes_late=is_third_party),
        Kind(place, "everything held back", _held(wire), makes_late=is_third_party),
    ]


# PostgreSQL


@contextmanager
def _lost_commits(world: World, rng: Random) -> Iterator[None]:
    world.database_wire.lose_next_answer_with(b"COMMIT\x00")
    yield
    world.database_wire.lose_next_answer_with(b"COMMIT\x00")


@contextmanager
def _database_away(world: World, _: Random) -> Iterator[None]:
    world.database.stop()
    yield
    world.database.start()


@contextmanager
def _database_crash(world: World, _: Random) -> Iterator[None]:
    os.kill(world.database.pid, SIGQUIT)
    wait_until(lambda: gone(world.database.pid), "the end of the database")
    world.database.stop()
    yield
    world.database.start()


def _read_only(world: World, _: Random) -> AbstractContextManager[None]:
    on = "ALTER DATABASE cashback SET default_transaction_read_only = on"
    return setting(world.url, on, "ALTER DATABASE cashback RESET default_transaction_read_only")


@contextmanager
def _locked(world: World, rng: Random) -> Iterator[None]:
    tables = rng.choice(("stored_events, delivery", "effect", "kafka_position", "projection_position"))
    with psycopg.connect(world.url) as connection:
        connection.execute(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")
        yield


def _rewound(*, is_promoted: bool) -> Fault:
    @contextmanager
    def rewound(world: World, _: Random) -> Iterator[None]:
        database = ReplacedFolder(world.database, is_promoted=is_promoted)
        database.keep()
        yield
        database.go_back()

    return rewound


# Kafka


@contextmanager
def _broker_away(world: World, _: Random) -> Iterator[None]:
    address = world.broker.bootstrap
    world.broker.stop()
    yield
    assert world.broker.start() == address


@contextmanager
def _broker_crash(world: World, _: Random) -> Iterator[None]:
    address = world.broker.bootstrap
    os.kill(world.broker.pid, SIGKILL)
    world.broker.stop()
    yield
    assert world.broker.start() == address


# The third party


def _answers(**faults: object) -> Fault:
    @contextmanager
    def answers(world: World, rng: Random) -> Iterator[None]:
        world.books.faults(**faults, seed=rng.randrange(2**31))
        yield
        world.books.faults(**_NONE)

    return answers


_NONE: Final[Mapping[str, object]] = {
    "latencyMs": 0, "errorRate": 0, "errorStatus": 503, "retryAfterSeconds": None, "hangRate": 0,
    "lostAnswerRate": 0, "lateRate": 0, "lateMs": 0, "down": False,
}  # fmt: skip

_DATABASE, _KAFKA, _THIRD_PARTY, _SERVICE = "PostgreSQL", "Kafka", "third party", "service"


def kinds(*, is_apache: bool) -> list[Kind]:
    """All; with the embedded broker, which has no wire and keeps nothing, fewer."""
    found = [
        Kind(_SERVICE, "killed", _killed),
        Kind(_SERVICE, "frozen", _frozen_service, makes_late=True),
        *_wire_kinds(_DATABASE, lambda world: world.database_wire),
        Kind(_DATABASE, "answers to COMMIT lost", _lost_commits),
        Kind(_DATABASE, "restarted", _database_away),
        Kind(_DATABASE, "crashed", _database_crash),
        Kind(_DATABASE, "frozen", lambda world, _: frozen(world.database.pid)),
        Kind(_DATABASE, "read-only", _read_only),
        Kind(_DATABASE, "tables locked", _locked),
        Kind(_DATABASE, "back in time, older copy", _rewound(is_promoted=False)),
        Kind(_DATABASE, "back in time, replica promoted", _rewound(is_promoted=True)),
        Kind(_KAFKA, "broker frozen", lambda world, _: frozen(world.broker.pid)),
        *_wire_kinds(_THIRD_PARTY, lambda world: world.third_party_wire, is_third_party=True),
        Kind(_THIRD_PARTY, "down", _answers(down=True)),
        Kind(_THIRD_PARTY, "errors", _answers(errorRate=0.5)),
        Kind(_THIRD_PARTY, "429", _answers(errorRate=0.2, errorStatus=429, retryAfterSeconds=1)),
        Kind(_THIRD_PARTY, "401", _answers(errorRate=1, errorStatus=401)),
        Kind(_THIRD_PARTY, "no answers", _answers(hangRate=0.4)),
        Kind(_THIRD_PARTY, "lost answers", _answers(lostAnswerRate=0.5)),
        Kind(_THIRD_PARTY, "late requests", _answers(lateRate=0.4, lateMs=LATE_MS), makes_late=True),
    ]
    if is_apache:
        found += _wire_kinds(_KAFKA, lambda world: world.kafka_wire)
        found += [Kind(_KAFKA, "restarted", _broker_away), Kind(_KAFKA, "crashed", _broker_crash)]
    return found
