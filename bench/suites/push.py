"""Durable, ordered delivery against the same client without a database."""

from functools import partial
from typing import Final

from bench import messages
from bench.arithmetic import Figure, summary
from bench.laboratory import CONCURRENCY, Laboratory
from bench.pushing import Pushing, orders_for, pushing
from bench.results import Measured, Plot, Series
from bench.stores import events_of, queues_of

NAME: Final = "push"
TITLE: Final = "Push: durable and in order"
ABOUT: Final = (
    "`serve --only push` in one and in two processes, ready and idle; then whole lifecycles are appended to the"
    " event store, and the time runs from the first call begun to the last call ended. The reference makes"
    " calls of as many orders with the same HTTP client, the same concurrency and as many processes, each"
    f" order's calls one after the other, and remembers nothing. {CONCURRENCY} calls at once in each process,"
    " the default."
)
_REFERENCE: Final = "same client, same concurrency, no database"


def run(lab: Laboratory) -> None:
    curves: dict[int, list[tuple[int, Measured]]] = {}
    for processes in lab.scale.push_processes:
        with pushing(lab, processes=processes) as parts:
            for latency_ms in lab.scale.push_latencies_ms:
                measured = _compare(lab, parts, processes, latency_ms)
                curves.setdefault(processes, []).append((latency_ms, measured))
    if len(lab.scale.push_latencies_ms) > 1:
        lab.chapter.plots.append(_plot(curves))


def _compare(lab: Laboratory, parts: Pushing, processes: int, latency_ms: int) -> Measured:
    parts.party.faults(latencyMs=latency_ms)
    orders = orders_for(lab.scale.push_seconds, latency_ms, CONCURRENCY * processes)
    in_processes = "one process" if processes == 1 else f"{processes} processes"
    title = f"push at {latency_ms} ms, {in_processes}"
    figure = Figure(f"push-{latency_ms}ms-{processes}p", title, _REFERENCE, "calls/s", 0.5, 0.7)
    return lab.compare(figure, partial(_ours, parts, orders), partial(_bare, parts, orders, processes))


def _ours(parts: Pushing, orders: int) -> float:
    return parts.ours(events_of(messages.lifecycles_of(orders)))


def _bare(parts: Pushing, orders: int, processes: int) -> float:
    return parts.bare(queues_of(events_of(messages.lifecycles_of(orders))), processes=processes)


def _plot(curves: dict[int, list[tuple[int, Measured]]]) -> Plot:
    series = []
    for processes, points in curves.items():
        label = "1 process" if processes == 1 else f"{processes} processes"
        ours = [(float(ms), summary([pair.ours for pair in each.pairs]).median) for ms, each in points]
        bare = [(float(ms), summary([pair.reference for pair in each.pairs]).median) for ms, each in points]
        series += [Series(f"ours, {label}", ours), Series(f"no database, {label}", bare, dashed=True)]
    return Plot("push", "Push by the third party's latency", "latency, ms", "calls/s", series, log_x=True)
