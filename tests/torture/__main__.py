"""Tortures the real processes: python -m tests.torture --minutes 5 --seed 1"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any, Final

from adapters.postgres.rebuild import rebuild
from sandbox.demo.reconciliation import read_books, read_event_store
from sandbox.order_service.lifecycles import outcome
from tests.support.event_store import sql
from tests.torture.faults import Kind, Step, kinds, plan
from tests.torture.load import Load
from tests.torture.trend import Sampler
from tests.torture.verdict import Span, Verdict
from tests.torture.world import TOPIC, World, best_kafka

RECOVERY_SECONDS: Final = 240.0
"""After a fault, and at the end."""
WARM_UP_SECONDS: Final = 60.0
_UNFINISHED: Final = "SELECT DISTINCT order_id FROM effect WHERE state <> 'delivered' ORDER BY order_id"


class Run:
    """One torture, from the first order to the verdict."""

    def __init__(self, world: World, options: argparse.Namespace) -> None:
        self.verdict = Verdict()
        self.faults: Counter[Kind] = Counter()
        self.recoveries: dict[Kind, list[float]] = {}
        """In seconds; of those alone that were waited for, and came alone."""
        self.orders = self.messages = self.records = 0
        self._world = world
        self._options = options
        self._rng = Random(options.seed)
        self._late: list[Span] = []

    def run(self) -> None:
        world, seconds, rate = self._world, self._options.minutes * 60, self._options.rate
        load = Load(world.broker.bootstrap, TOPIC, seed=self._options.seed, rate=rate, seconds=seconds)
        ends_at = time.monotonic() + seconds
        for step in plan(self._rng, kinds(is_apache=world.is_apache)):
            if time.monotonic() >= ends_at:
                break
            self._play(step, load)
        self._settle(load)
        self._judge(load)

    def _play(self, step: Step, load: Load) -> None:
        began = time.time()
        said = " with ".join(map(str, step.kinds))
        with ExitStack() as stack:
            for kind in step.kinds:
                self.faults[kind] += 1
                stack.enter_context(kind.begin(self._world, self._rng))
            self._world.pause(step.seconds)
        if any(kind.makes_late for kind in step.kinds):
            self._late.append((began, time.time()))
        ended = time.monotonic()
        if not step.waits:
            self._tell(f"{said}, {step.seconds:.1f} s; the next comes at once")
            return
        caught_up = self._world.wait_until(
            lambda: self._world.is_up_to_date(load, self._options.rate), RECOVERY_SECONDS
        )
        took = time.monotonic() - ended
        self._tell(
            f"{said}, {step.seconds:.1f} s; up to date {'after' if caught_up else 'NOT within'} {took:.1f} s"
        )
        if not caught_up:
            self.verdict.not_converged.append(f"not within {took:.0f} s after {said}: {self._world.standing()}")
        elif len(step.kinds) == 1:
            self.recoveries.setdefault(step.kinds[0], []).append(took)

    def _settle(self, load: Load) -> None:
        world = self._world
        if not world.wait_until(lambda: world.is_settled(load), RECOVERY_SECONDS):
            self.verdict.not_converged.append(
                f"{world.unread(load)} messages unread, {world.standing()}, load {load.error or load.ended}"
            )
        if load.error is not None:
            self.verdict.failures.append(f"the order service couldn't publish: {load.error}")

    def _judge(self, load: Load) -> None:
        world, verdict = self._world, self.verdict
        self.messages, self.records = len(load.messages), int(load.confirmed)
        truth = outcome(load.messages)
        self.orders = len(truth)
        unfinished = {order_id for (order_id,) in sql(world.url, _UNFINISHED)}
        stored = read_event_store(world.url, lambda _: None)
        verdict.judge_books(stored.standings, read_books(world.books.url), truth, unfinished)
        verdict.not_converged += [f"order {order_id} is left to a person" for order_id in stored.doubtful]
        verdict.judge_calls(world.books.show("violations")["violations"], self._late)
        for found in rebuild(world.url, [], lambda *_: None, check=True).differences:
            verdict.failures.append(f"the lists aren't what the events say: {found}")

    def end(self) -> None:
        """The services are told to end, and must."""
        for service in self._world.services:
            try:
                code = service.terminate()
            except AssertionError as error:
                self.verdict.failures.append(f"{service.name} was told to end: {error}")
            else:
                self.verdict.failures += [f"{service.name} ended with {code} when told to end"] if code else []
            self.verdict.failures += service.deaths

    @staticmethod
    def _tell(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def report(run: Run, sampler: Sampler, totals: dict[str, Any], options: argparse.Namespace, kafka: str) -> None:
    print(f"\nseed {options.seed}, {options.minutes:g} minutes, {kafka} Kafka\n")
    print(f"{'faults':44}{'number':>8}{'recovery in s: median':>24}{'longest':>9}")
    for kind, number in sorted(run.faults.items(), key=lambda each: str(each[0])):
        took = run.recoveries.get(kind)
        times = f"{statistics.median(took):>24.1f}{max(took):>9.1f}" if took else f"{'-':>24}{'-':>9}"
        print(f"{kind!s:44}{number:>8}{times}")
    print(f"{'all':44}{sum(run.faults.values()):>8}\n")
    print(f"{'what the services took':32}{'first':>10}{'median':>10}{'last':>10}{'a minute':>10}")
    for (name, what), trend in sampler.trends().items():
        label = f"{name}, {what.replace('_', ' in ').replace('mib', 'MiB')}"
        print(
            f"{label:32}{trend.first:>10.1f}{trend.median:>10.1f}{trend.last:>10.1f}{trend.slope_per_minute:>+10.2f}"
        )
    print(f"\n{run.orders} orders, {run.messages} messages, {run.records} records, {totals['calls']} calls")
    print(", ".join(f"{number} {name}" for name, number in run.verdict.counts.items()))
    if run.verdict.excused:
        print(f"requests that came after they had been given up, beside another: {dict(run.verdict.excused)}")
    for line in run.verdict.lines():
        print(line)


def main(arguments: Sequence[str]) -> int:
    """1 if anything is wrong; then the logs stay."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="of load and faults; recovery comes on top")
    parser.add_argument("--seed", type=int, default=1, help="of the orders and the faults")
    parser.add_argument("--rate", type=float, default=8.0, help="orders a second, of about four records each")
    parser.add_argument("--kafka", choices=("apache", "embedded"), default=best_kafka())
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="cashback-torture-"))
    with World(folder, kafka=options.kafka) as world:
        if not world.wait_until(world.is_ready, WARM_UP_SECONDS):
            print(f"not ready before any fault: {world.standing()}")
            return 1
        sampler = Sampler(world.services)
        run = Run(world, options)
        try:
            run.run()
        finally:
            sampler.close()
        run.end()
        report(run, sampler, world.books.show("totals"), options, options.kafka)
    if run.verdict.is_good:
        shutil.rmtree(folder)
        return 0
    print(f'logs are in {folder}; again: make torture ARGS="--minutes {options.minutes:g} --seed {options.seed}"')
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
