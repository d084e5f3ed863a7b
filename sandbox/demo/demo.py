"""The demo: everything on one machine, started, shown, and ended without a trace.

Ended by the user it leaves with 0: it was meant to run until then. With --exit it leaves with 0 only when all
orders are reconciled: an interruption leaves with 128 plus the signal's number, as a shell would say it.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg

from adapters.settings import Settings, read_settings
from domain.errors import CashbackError
from domain.ports import Partition, StoreUnavailable
from sandbox.demo.folder import DemoFolder
from sandbox.demo.numbers import Sampler, State
from sandbox.demo.reconciliation import read_violations
from sandbox.demo.report import books_table, last_quarantined, reconcile, sentences
from sandbox.demo.screen import OUTPUT_GONE, Screen
from sandbox.demo.settings import Scenario, service_settings
from sandbox.demo.signals import EndRequested, Signals
from sandbox.demo.stack import Addresses, DemoStack
from sandbox.demo.view import Scene
from sandbox.order_service.chaos import Chaos, Disorder
from sandbox.order_service.growing_topic import CantGrow
from sandbox.order_service.lifecycles import first_order_id_at
from sandbox.servers.apache_kafka import ApacheKafka
from sandbox.servers.embedded_kafka import Broker, EmbeddedBroker
from sandbox.servers.supervisor import PartError, Supervisor

DEFAULT_RATE: Final = 10.0
DEFAULT_ORDERS: Final = 1000
"""With --exit and no --orders."""
BROKERS: Final[Mapping[str, Callable[[Path], Broker]]] = {
    "embedded": EmbeddedBroker,
    "apache": lambda folder: ApacheKafka(folder / "kafka"),
}
TICK_SECONDS: Final = 0.2
STALLED_SECONDS: Final = 60.0
"""With --exit, on top of the longest wait that the service itself may take: nothing moved for so long."""


class CantGoOn(CashbackError):
    """The operating system refuses something that the demo needs."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command's options. No orders: for ever. No rate: as fast as it goes with `leave`, else DEFAULT_RATE."""

    orders: int | None = None
    rate: float | None = None
    seed: int | None = None
    broker: str = "embedded"
    leave: bool = False
    reset: bool = False
    error_rate: float = 0.0
    lost_answer_rate: float = 0.0
    chaos: Chaos = field(default_factory=Chaos)

    def scenario(self) -> Scenario:
        """With what was left open decided: each run has orders of its own."""
        return Scenario(
            orders=self.orders or (DEFAULT_ORDERS if self.leave else None),
            rate=self.rate or (None if self.leave else DEFAULT_RATE),
            seed=secrets.randbelow(10**9) if self.seed is None else self.seed,
            first_order_id=first_order_id_at(time.time_ns()),
            error_rate=self.error_rate,
            lost_answer_rate=self.lost_answer_rate,
            chaos=self.chaos,
        )


def run_demo(options: Options) -> int:
    """Runs until it is ended, or with `leave` until all is reconciled. Answers the exit code.

    Raises CashbackError for what its user can repair; by then everything is stopped.
    """
    signals = Signals()
    signals.install()
    screen = Screen()
    try:
        return _Demo(options, signals, screen).run()
    except EndRequested as request:
        return 128 + request.number if options.leave else 0
    except PartError as error:
        screen.complain(error)
        return 1
    except psycopg.Error as error:
        raise StoreUnavailable(f"the database doesn't answer: {error}") from error
    except OSError as error:
        if error.errno not in OUTPUT_GONE:
            raise CantGoOn(str(error)) from error
        screen.abandon()
        return 1
    finally:
        signals.ignore()


class _Demo:
    def __init__(self, options: Options, signals: Signals, screen: Screen) -> None:
        self._leave = options.leave
        self._reset = options.reset
        self._signals = signals
        self._screen = screen
        self._started = time.monotonic()
        self._settings = read_settings()
        self._scenario = options.scenario()
        self._make_broker = BROKERS[options.broker]
        is_external = "kafka_bootstrap" in self._settings.model_fields_set
        if options.broker == "embedded" and not is_external and options.chaos.insists_on(Disorder.GROWING):
            raise CantGrow("--chaos growing: the embedded broker can't add partitions; --kafka apache can")
        self._folder = DemoFolder()

    def run(self) -> int:
        report = self._screen.report
        for reason in self._folder.passed_over:
            report(f"not {reason}")
        report(f"{'folder':12} {self._folder.path}")
        stopping_since = time.monotonic()
        try:
            with Supervisor() as supervisor:
                try:
                    stack = DemoStack(
                        self._scenario,
                        self._settings,
                        self._folder.path,
                        make_broker=self._make_broker,
                        supervisor=supervisor,
                        report=report,
                    )
                    return self._play(stack)
                finally:
                    stopping_since = time.monotonic()
                    report("stopping …")
        finally:
            report(f"all stopped after {time.monotonic() - stopping_since:.1f} s")

    def _play(self, stack: DemoStack) -> int:
        if self._reset:
            stack.reset()
        addresses = stack.start()
        if self._leave:
            read_violations(addresses.third_party_url)  # better now than after the run: can we compare at all?
        is_ours_alone = not stack.external
        quarantined_before = 0 if is_ours_alone else last_quarantined(addresses.database_url)
        if self._watch(stack, addresses):
            self._screen.report(f"all delivered {time.monotonic() - self._started:.1f} s after the start")
        else:
            self._screen.report(f"nothing moved for {self._stalled_seconds:.0f} s: giving up")
        if not is_ours_alone:
            self._screen.report("comparing this run's orders: what others did is not ours to judge")
        result = reconcile(
            addresses,
            self._scenario,
            corrections=self._service_settings.third_party_corrections,
            is_ours_alone=is_ours_alone,
            quarantined_before=quarantined_before,
            progress=lambda done: self._screen.report(f"{done:,} orders rebuilt from their events"),
        )
        stack.check()
        self._screen.show(books_table(result))
        for sentence in sentences(result):
            self._screen.report(sentence)
        return 0 if result.agrees else 1

    def _watch(self, stack: DemoStack, addresses: Addresses) -> bool:
        """Shows how it goes on until all is delivered (True) or nothing moves any more; without --exit for ever."""
        scene = self._scene(addresses)
        moves, moved_at = None, time.monotonic()
        published: Mapping[Partition, int] | None = None
        with Sampler(addresses, self._scenario) as sampler, self._screen.live(scene) as show:
            while True:
                self._signals.check()
                stack.check()
                numbers = sampler.sample()
                show(numbers, time.monotonic() - self._started)
                if self._leave and stack.order_service.exit_code == 0:
                    published = published or stack.published(addresses)
                    if self._is_done(numbers.state, published):
                        show(sampler.sample(everything=True), time.monotonic() - self._started, last=True)
                        return True
                    if time.monotonic() - moved_at > self._stalled_seconds:
                        return False
                if numbers.moves != moves or not self._leave or stack.order_service.exit_code is None:
                    moves, moved_at = numbers.moves, time.monotonic()
                time.sleep(TICK_SECONDS)

    def _is_done(self, state: State | None, published: Mapping[Partition, int]) -> bool:
        """Every record has been read, copies and poison too; all orders have ended, and nothing is left to do."""
        return (
            state is not None
            and state.has_read(published)
            and state.at_rest
            and state.run_orders_ended == self._scenario.orders
        )

    @property
    def _stalled_seconds(self) -> float:
        service = self._service_settings
        return STALLED_SECONDS + service.lease_seconds + service.push_backoff_max_seconds

    @property
    def _service_settings(self) -> Settings:
        return self._settings.model_copy(update=service_settings(self._settings, self._scenario, {}))

    def _scene(self, addresses: Addresses) -> Scene:
        scenario = self._scenario
        how_many = f"{scenario.orders:,} orders" if scenario.orders else "orders"
        rate = f"{scenario.rate:g} a second" if scenario.rate else "as fast as it goes"
        return Scene(
            addresses=addresses,
            folder=self._folder.path,
            plays=f"{how_many}, {rate}, seed {scenario.seed}"
            + (f", {scenario.chaos}" if scenario.chaos.kinds else ""),
            first_order_id=scenario.first_order_id,
            needs_token=self._settings.api_token is not None,
            is_paced=scenario.rate is not None and not scenario.chaos.kinds,
            ends_alone=self._leave,
        )
