"""Measures, on this machine, ratios against references that run in the same process, alternating.

`python -m bench [--messages N] [--orders N] [--rounds N]`
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.intake import IntakeBench
from bench.push import PushBench
from sandbox.broker import EmbeddedBroker
from sandbox.postgres import EmbeddedPostgres
from sandbox.processes import Supervisor

Measure = Callable[[], float]


def main() -> None:
    """Starts real servers, measures, prints a table."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000, help="for intake")
    parser.add_argument("--orders", type=int, default=500, help="for push, three calls each")
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often each figure and its reference are measured"
    )
    options = parser.parse_args()
    table = Table(title="ratios: ours / reference, both measured in this run, alternating")
    for column in ("figure", "reference", "ours /s", "reference /s", "ratio", "from … to"):
        table.add_column(column)
    with tempfile.TemporaryDirectory() as name, Supervisor() as supervisor:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as another user when we are root
        postgres = EmbeddedPostgres(folder / "postgres")
        broker = EmbeddedBroker(folder / "broker")
        supervisor.add(postgres)
        supervisor.add(broker)
        url, bootstrap = postgres.start(), broker.start()
        intake = IntakeBench(url, bootstrap, dict(broker.client_config), options.messages)
        _add(
            table,
            "intake of new orders",
            "same consumer, bare parse, COPY",
            options.rounds,
            intake.ours,
            intake.ceiling,
        )
        for latency_ms in (0, 10):
            push = PushBench(url, options.orders, latency_ms)
            _add(
                table,
                f"durable push, {latency_ms} ms",
                "same client, no database",
                options.rounds,
                push.ours,
                push.bare,
            )
    Console().print(table)


def _add(table: Table, figure: str, reference: str, rounds: int, ours: Measure, other: Measure) -> None:  # noqa: PLR0913, PLR0917
    pairs = [(ours(), other()) for _ in range(rounds)]
    ratios = sorted(mine / theirs for mine, theirs in pairs)
    mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    row = (figure, reference, f"{mine:.0f}", f"{theirs:.0f}", f"{statistics.median(ratios):.2f}")
    table.add_row(*row, f"{ratios[0]:.2f} … {ratios[-1]:.2f}")


if __name__ == "__main__":
    main()
