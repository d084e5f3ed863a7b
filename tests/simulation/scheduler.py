"""One statement at a time: which actor's goes next, and what goes wrong with it, is drawn from the seed.

Every round trip of every connection waits here (connections.py). The scheduler lets one statement of one actor run
to its end in the real PostgreSQL, or until it waits for another's lock, and only then goes on: what happens between
two statements follows from the seed alone.
"""

import asyncio
import hashlib
import random
import select
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
from psycopg import pq
from psycopg.waiting import Ready, Wait

from tests.simulation.database import HALT_LOCK
from tests.simulation.dice import Dice
from tests.simulation.profiles import Profile

EPOCH_SECONDS: Final = 1_740_744_000.0
"""When virtual time begins, in seconds since 1970: 2025-02-28, noon, UTC."""
STEP_SECONDS: Final = (1e-4, 1e-3, 1e-2)
"""What a statement takes."""
IDLE_IN_TRANSACTION_SECONDS: Final = 5.0
"""As the event store's connections have it: whoever stands still for longer inside a transaction is cut off."""
LOOK_FOR_LOCKS_SECONDS: Final = 0.003
"""Real time without an answer, after which PostgreSQL is asked whether the statement waits for a lock."""
TERMINATED_WITHIN_MS: Final = 60_000
HALTED: Final = frozenset({"claim", "settle", "set_back", "upsert_delivery", "let_go", "pass_by", "store_batch"})
"""Statements that may stop half-way."""
HALTS: Final = ("look", "look+", "look++", "begin", "change")
"""Where: when they ask for the time (the planner does it first, then the execution), when they have their snapshot
and nothing else, or at the first row that they change, with the locks and the ids that they have by then."""
UNTOLD: Final = frozenset(
    {
        *("next_due", "lock_position", "others_position", "next_events", "last_event", "select_positions"),
        *("select_streams", "stream", "with_stream", "cursors", "lock_cursors", "notify_due", "insert_attempts"),
        *("watch_sessions", "open_session", "lock_session", "forget_sessions", "database", "server"),
    }
)
"""Statements that a short trace is better without."""
OFTEN: Final = 6
"""So many times as often as elsewhere."""


@dataclass(eq=False)
class Actor:
    """A process of the simulated world."""

    kind: str
    number: int
    life: int
    rng: random.Random
    is_dead: bool = False
    connections: list[Any] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.number}.{self.life}"


@dataclass(eq=False)
class Statement:
    """A round trip that waits for its turn, or for a lock."""

    actor: Actor
    connection: Any
    generator: Generator[Wait, Ready, Any]
    name: str
    done: asyncio.Future[Any]
    wants: Wait | None = None
    line: str | None = None
    """In the trace, as long as it isn't in the story."""


@dataclass
class Counts:
    """What happened in a run."""

    statements: int = 0
    lost: int = 0
    standstills: int = 0
    halts: int = 0
    lock_waits: int = 0
    deadlocks: int = 0
    kills: int = 0


class Scheduler:
    """Virtual time and chance, for one run on one database. Use as a context manager."""

    def __init__(self, url: str, dice: Dice, profile: Profile, names: dict[str, str]) -> None:
        self.now_seconds = 0.0
        self.counts = Counts()
        self.is_fine = False
        """The weather: nothing goes wrong any more."""
        self.trace: list[str] = []
        self.story: list[str] = []
        """The trace without what changed nothing."""
        self.on_statement: Callable[[Statement], None] = lambda _: None
        """Called when one has run to its end without an error."""
        self._names = names
        self._profile = profile
        self._turns = dice.stream("turns")
        self._weather = dice.stream("weather")
        self._waiting: list[Statement] = []
        self._blocked: list[Statement] = []
        self._hash = hashlib.sha256()
        self._monitor = psycopg.connect(url, autocommit=True)
        self._halter = psycopg.connect(url, autocommit=True)
        self._halt_ends: int | None = None
        self._ticks = 0
        self._sleepers: dict[str, list[asyncio.Future[None]]] = {}

    def close(self) -> None:
        self._monitor.close()
        self._halter.close()

    # Time, and the trace

    @property
    def now_ns(self) -> int:
        return round((EPOCH_SECONDS + self.now_seconds) * 1e6) * 1000

    def now(self) -> datetime:
        return datetime.fromtimestamp(EPOCH_SECONDS + self.now_seconds, UTC)

    def monotonic(self) -> float:
        return self.now_seconds

    def tell(self, who: str, what: str, *, is_step: bool = True) -> None:
        """Adds a line to the trace; the run's hash is made of them all. Steps are in the story, too."""
        line = f"{self.now_seconds:11.4f}  {who:14}  {what}"
        self._hash.update(line.encode())
        self.trace.append(line)
        if is_step:
            self.story.append(line)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()[:16]

    # For the actors

    async def run(self, connection: Any, generator: Generator[Wait, Ready, Any]) -> Any:
        """Runs a statement when its turn has come."""
        actor: Actor = connection.actor
        self._check_alive(actor, connection)
        name = self._name(generator)
        often = OFTEN if name in self._profile.often_paused else 1
        if not self.is_fine and self._weather.random() < self._profile.pauses * often:
            await self._stand_still(actor, connection)
        done = asyncio.get_running_loop().create_future()
        statement = Statement(actor, connection, generator, name, done)
        self._waiting.append(statement)
        try:
            return await done
        except asyncio.CancelledError:
            self._give_up(statement)
            raise

    async def wait_for_notification(self, channel: str, seconds: float) -> None:
        """Until somebody commits a NOTIFY, or for so long."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.setdefault(channel, []).append(woken)
        await asyncio.wait((woken,), timeout=seconds)

    def notify(self, channel: str) -> None:
        """One in ten gets lost: whoever waits must look again by himself."""
        for sleeper in self._sleepers.pop(channel, []):
            if not sleeper.done() and self._turns.random() < 0.9:
                sleeper.set_result(None)

    async def _stand_still(self, actor: Actor, connection: Any) -> None:
        seconds = self._weather.choice(self._profile.standstill_seconds)
        self.counts.standstills += 1
        self.tell(actor.name, f"stands still for {seconds:g} s")
        await asyncio.sleep(seconds)
        self._check_alive(actor, connection)
        in_transaction = connection.pgconn.transaction_status != pq.TransactionStatus.IDLE
        if in_transaction and connection.is_cut_when_idle and seconds > IDLE_IN_TRANSACTION_SECONDS:
            self.terminate([connection])
            raise psycopg.OperationalError("idle in transaction for too long (simulated)")

    def _check_alive(self, actor: Actor, connection: Any) -> None:
        if actor.is_dead or connection.pgconn.status != pq.ConnStatus.OK:
            connection.pgconn.finish()
            raise psycopg.OperationalError("the connection is gone (simulated)")

    def _give_up(self, statement: Statement) -> None:
        if statement in self._waiting:
            self._waiting.remove(statement)
        elif statement in self._blocked:
            self._blocked.remove(statement)
            self.terminate([statement.connection])

    def _name(self, generator: Any) -> str:
        said = generator.gi_frame.f_locals if generator.gi_frame is not None else {}
        query = said.get("query") or said.get("command") or said.get("statement") or ""
        text = (query.decode() if isinstance(query, bytes) else str(query)).strip()
        if not text:
            name = {"_enter_gen": "BEGIN", "_exit_gen": "COMMIT"}.get(generator.__name__, generator.__name__)
            return "ROLLBACK" if said.get("exc_val") is not None else name
        first_line = text.split("\n", maxsplit=1)[0]
        return self._names.get(first_line) or first_line[:40]

    # For the loop

    @property
    def is_any_waiting(self) -> bool:
        return bool(self._waiting)

    def step(self, timeout: float | None) -> None:
        """When no code can go on: one statement, or time goes on until the next timer."""
        self._ticks += 1
        if self._halt_ends is not None and self._ticks >= self._halt_ends:
            self._end_halt()
        elif self._waiting and (timeout is None or self._turns.random() > 0.05):
            self._run_one()
        elif timeout is not None:
            self.now_seconds += max(1e-6, timeout)
        elif not self._blocked:
            raise AssertionError("everything waits, and nothing will ever happen")

    def _run_one(self) -> None:
        statement = self._waiting.pop(self._turns.randrange(len(self._waiting)))
        self.now_seconds += self._turns.choice(STEP_SECONDS)
        self.counts.statements += 1
        fault = None
        if not self.is_fine and self._weather.random() < self._profile.lost_connections:
            fault = self._weather.choice(("before", "after"))
            self.counts.lost += 1
        self._set_clock(statement.connection)
        self._begin_halt(statement)
        told = f"{statement.name}  !! connection lost {fault} it" if fault else statement.name
        self.tell(statement.actor.name, told, is_step=fault is not None)
        statement.line = None if fault else self.trace[-1]
        if fault == "before":
            self._lose(statement)
        else:
            self._drive(statement, lose_answer=fault == "after")
        self._poll_blocked()

    def _set_clock(self, connection: Any) -> None:
        """`now()` is the time at which the transaction began."""
        micros = round((EPOCH_SECONDS + self.now_seconds) * 1e6)
        if connection.pgconn.transaction_status == pq.TransactionStatus.IDLE:
            began = (
                b"SELECT set_config('sim.now', to_timestamp(setval('sim.clock', %d) / 1e6)::text, false)" % micros
            )
            connection.pgconn.exec_(began)
        else:
            self._monitor.pgconn.exec_(b"SELECT setval('sim.clock', %d)" % micros)

    def _drive(self, statement: Statement, *, lose_answer: bool = False) -> None:
        """Runs it to its end, or until it waits for another's lock."""
        pgconn = statement.connection.pgconn
        try:
            if statement.wants is None:
                statement.wants = next(statement.generator)
            while True:
                ready = _poll(pgconn.socket, statement.wants)
                if ready:
                    statement.wants = statement.generator.send(ready)
                elif self._is_blocked(pgconn.backend_pid):
                    self._set_aside(statement)
                    return
        except StopIteration as end:
            self._done(statement)
            if statement.line is not None and _has_done_something(statement.name, end.value):
                self.story.append(statement.line)
            self.on_statement(statement)
            if lose_answer:
                self._lose(statement)
            elif not statement.done.done():
                statement.done.set_result(end.value)
        except Exception as error:  # noqa: BLE001 - the product's to handle
            self._done(statement)
            self.tell(statement.actor.name, f"  {type(error).__name__}")
            if not statement.done.done():
                statement.done.set_exception(error)

    def _set_aside(self, statement: Statement) -> None:
        if statement in self._blocked:
            return
        self._blocked.append(statement)
        self.counts.lock_waits += 1
        self.tell(statement.actor.name, f"  {statement.name} waits for a lock")
        if self._closes_a_circle(statement):
            self.counts.deadlocks += 1
            self.tell(statement.actor.name, f"  {statement.name} is cancelled: a deadlock")
            self._monitor.execute("SELECT pg_cancel_backend(%s)", (statement.connection.pgconn.backend_pid,))

    def _done(self, statement: Statement) -> None:
        if statement in self._blocked:
            self._blocked.remove(statement)

    def _lose(self, statement: Statement) -> None:
        self.terminate([statement.connection])
        if not statement.done.done():
            statement.done.set_exception(psycopg.OperationalError("the connection was lost (simulated)"))

    # Locks

    def _blockers(self, pid: int) -> set[int]:
        row = self._monitor.execute("SELECT pg_blocking_pids(%s)", (pid,)).fetchone()
        assert row is not None
        return set(row[0])

    def _is_blocked(self, pid: int) -> bool:
        return bool(self._blockers(pid))

    def _closes_a_circle(self, statement: Statement) -> bool:
        """PostgreSQL would find it after a time of its own."""
        own = statement.connection.pgconn.backend_pid
        seen, ahead = {own}, self._blockers(own)
        while ahead - seen:
            seen |= (found := ahead - seen)
            ahead = set().union(*map(self._blockers, found))
            if own in ahead:
                return True
        return False

    def _poll_blocked(self) -> None:
        is_any_done = True
        while is_any_done and self._blocked:
            before = len(self._blocked)
            for statement in list(self._blocked):
                self._drive(statement)
            is_any_done = len(self._blocked) < before

    def _begin_halt(self, statement: Statement) -> None:
        """Functions and triggers make the statement stop (database.py)."""
        if self.is_fine or self._halt_ends is not None or statement.name not in HALTED:
            return
        if self._weather.random() < self._profile.halts:
            self.counts.halts += 1
            self._halt_ends = self._ticks + self._weather.randint(2, 40)
            self._halter.execute("SELECT pg_advisory_lock(%s)", (HALT_LOCK,))
            where = self._weather.choice(HALTS[-2:] if statement.name == "store_batch" else HALTS)
            statement.connection.pgconn.exec_(f"SELECT set_config('sim.halt', '{where}', false)".encode())
            self.tell(statement.actor.name, f"  is going to stop at its first {where}")

    def _end_halt(self) -> None:
        self._halt_ends = None
        self._halter.execute("SELECT pg_advisory_unlock(%s)", (HALT_LOCK,))
        self._poll_blocked()

    # The end of connections and processes

    def terminate(self, connections: Iterable[Any]) -> None:
        """Returns when PostgreSQL has ended their transactions."""
        pids = []
        for connection in connections:
            if connection.pgconn.status == pq.ConnStatus.OK:
                pids.append(connection.pgconn.backend_pid)
            connection.pgconn.finish()
        if pids:
            ended = "SELECT pg_terminate_backend(pid, %s) FROM unnest(%s::integer[]) AS pid"
            self._monitor.execute(ended, (TERMINATED_WITHIN_MS, pids))

    def lose_server(self, actors: Iterable[Actor]) -> None:
        """The database goes away under all of them; they live on."""
        self.terminate([connection for actor in actors for connection in actor.connections])
        for statement in [*self._waiting, *self._blocked]:
            if not statement.done.done():
                statement.done.set_exception(psycopg.OperationalError("the server is gone (simulated)"))
        self._waiting.clear()
        self._blocked.clear()
        self._halt_ends = None
        self._halter.execute("SELECT pg_advisory_unlock_all()")

    def kill(self, actor: Actor) -> None:
        """As SIGKILL: nothing that it has in hand gets any further."""
        self.tell(actor.name, "is killed")
        self.counts.kills += 1
        self.end(actor)

    def end(self, actor: Actor) -> None:
        actor.is_dead = True
        self.terminate(actor.connections)
        for statement in [each for each in [*self._waiting, *self._blocked] if each.actor is actor]:
            (self._waiting if statement in self._waiting else self._blocked).remove(statement)
            if not statement.done.done():
                statement.done.set_exception(psycopg.OperationalError("killed (simulated)"))
        self._poll_blocked()
        if actor.task is not None:
            actor.task.cancel()


def _has_done_something(name: str, results: Any) -> bool:
    """It has changed rows, or found some that matter."""
    if name in UNTOLD or not isinstance(results, list):
        return False
    return any(
        result.status in {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK} and (result.command_tuples or 0) > 0
        for result in results
    )


def _poll(socket: int, wants: Wait) -> Ready | None:
    """None: nothing came."""
    poller = select.poll()
    poller.register(socket, (select.POLLIN if wants & Wait.R else 0) | (select.POLLOUT if wants & Wait.W else 0))
    found = poller.poll(LOOK_FOR_LOCKS_SECONDS * 1000)
    if not found:
        return None
    [(_, events)] = found
    ready = 0
    if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
        ready |= Ready.R
    if events & select.POLLOUT:
        ready |= Ready.W
    return Ready(ready)
