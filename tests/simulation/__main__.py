"""Runs seeds: python -m tests.simulation --seeds 1-100 --profile faults"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import structlog

from sandbox.servers.postgres import EmbeddedPostgres
from tests.simulation.database import simulation_database
from tests.simulation.profiles import PROFILES
from tests.simulation.shrinker import shrunk
from tests.simulation.world import Report, simulate

TRACE_LINES = 120
TOLD = ("seed", "problem", "digest", "virtual_seconds", "cpu_seconds", "calls", "lookups", "marked", "actions")


def run(arguments: Sequence[str]) -> int:
    """1 if a seed failed."""
    options = _options(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    first, _, last = options.seeds.partition("-")
    began, reports = time.monotonic(), list[Report]()
    with (
        tempfile.TemporaryDirectory(prefix="cashback-simulation-") as folder,
        EmbeddedPostgres(Path(folder), durable=False) as server,
        simulation_database(server.url) as url,
    ):
        for seed in range(int(first), int(last or first) + 1):
            if time.monotonic() - began > options.within_seconds:
                break
            report = simulate(url, seed, PROFILES[options.profile])
            reports.append(report)
            _show(report, options)
            if options.twice and simulate(url, seed, PROFILES[options.profile]).digest != report.digest:
                report.problem = "another run of the same seed went another way"
                print(f"seed {seed}: {report.problem}", flush=True)
            if report.problem and options.shrink_seconds:
                _show_small(shrunk(url, PROFILES[options.profile], report, options.shrink_seconds, print))
            if report.problem and not options.go_on:
                break
    _sum_up(reports, time.monotonic() - began)
    return 1 if any(report.problem for report in reports) else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", default="1-20", help="one, or a range: 1-100")
    parser.add_argument("--profile", default="faults", choices=list(PROFILES))
    parser.add_argument("--within-seconds", type=float, default=1e9, help="begin no further seed after so long")
    parser.add_argument("--twice", action="store_true", help="run each seed twice and compare")
    parser.add_argument("--trace", type=Path, help="write the last seed's whole trace to this file")
    parser.add_argument("--shrink-seconds", type=float, default=0.0, help="so long a seed that fails is shrunk")
    parser.add_argument("--go-on", action="store_true", help="after a seed that fails, too")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each seed")
    found: argparse.Namespace = parser.parse_args(arguments)
    return found


def _show(report: Report, options: argparse.Namespace) -> None:
    if options.trace:
        options.trace.write_text("\n".join(report.trace) + "\n")
    if options.json:
        said = {name: getattr(report, name) for name in TOLD} | {"counts": asdict(report.counts)}
        print(json.dumps(said), flush=True)
    elif sys.stdout.isatty() or report.problem:
        print(f"seed {report.seed}: {report.digest} {report.problem or 'ok'}", flush=True)
    if report.problem:
        print("\n".join(report.trace[-TRACE_LINES:]))
        command = f"--seeds {report.seed} --profile {options.profile} --trace trace.txt"
        print(f'again, with the whole trace: make simulate ARGS="{command}"', flush=True)


def _show_small(report: Report) -> None:
    """All that is left of it."""
    plan = report.plan
    print(f"orders {sorted(plan.only) if plan.only else 'all'}, without {sorted(plan.without)}")
    print("\n".join(report.story), flush=True)


def _sum_up(reports: list[Report], wall_seconds: float) -> None:
    actions: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for report in reports:
        actions.update(report.actions)
        seen.update(set(report.actions))
    cpu = sum(report.cpu_seconds for report in reports)
    said = {
        "seeds": len(reports),
        "failed": [report.seed for report in reports if report.problem],
        "statements": sum(report.counts.statements for report in reports),
        "lost connections": sum(report.counts.lost for report in reports),
        "lock waits": sum(report.counts.lock_waits for report in reports),
        "deadlocks": sum(report.counts.deadlocks for report in reports),
        "halts": sum(report.counts.halts for report in reports),
        "kills": sum(report.counts.kills for report in reports),
        "calls": sum(report.calls for report in reports),
        "lookups": sum(report.lookups for report in reports),
        "orders marked": sum(report.marked for report in reports),
        "actions, and the share of seeds with them": {
            name: f"{count}, {seen[name] / len(reports):.0%}" for name, count in sorted(actions.items())
        },
        "virtual hours": round(sum(report.virtual_seconds for report in reports) / 3600, 2),
        "CPU seconds of ours": round(cpu, 1),
        "seconds": round(wall_seconds, 1),
    }
    print(json.dumps(said, indent=2))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
