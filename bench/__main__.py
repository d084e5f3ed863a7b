"""Measures the service on this machine, as ratios against references measured in the same run, in turns.

A run of all suites writes the results, and the document made of them, to docs/. A run of some, or at the scale
`smoke`, writes only if a folder is named; other chapters that are there stay as they are. Any run ends with 1 if a
ratio is below half of the one that bench/recorded.json has for its scale, twice.
"""

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from adapters.observability.logs import configure_logs
from adapters.runtime.tuning import collect_rarely, take_turns_quickly
from bench.arithmetic import has_got_worse, ratios
from bench.laboratory import Laboratory, Suite, start_postgres
from bench.machine import ROOT, run_of
from bench.report import write_report
from bench.results import Chapter, Chapters, load, load_recorded, save, save_recorded
from bench.scales import FULL, ROUNDS_TO_RECORD, SCALES, SMOKE, Scale
from bench.suites import SUITES
from sandbox.servers.apache_kafka import ApacheKafka
from sandbox.servers.embedded_kafka import Broker, EmbeddedBroker
from sandbox.servers.supervisor import Supervisor

DOCUMENTS: Final = ROOT / "docs"
RECORDED: Final = ROOT / "bench" / "recorded.json"
RESULTS: Final = "benchmarks/results.json"

_begun = time.monotonic()


def main() -> int:
    """The exit code: 1 if a suite failed, or a figure has got worse or is missed."""
    options = _parser().parse_args()
    configure_logs("error")
    collect_rarely()  # as the service does, and the next; both serve the references just as well
    take_turns_quickly()
    if options.document:
        write_report(options.output or DOCUMENTS, load((options.output or DOCUMENTS) / RESULTS), SUITES)
        return 0
    scale = SCALES[options.scale]
    suites = _chosen(options.only)
    chapters, failed = _measure(scale, suites, options.kafka, options.rounds)
    worse = _worse(chapters, scale)
    if worse and not options.record:
        again = [suite for suite in suites if _worse({suite.NAME: chapters[suite.NAME]}, scale)]
        _report(f"worse than recorded: {', '.join(worse)}; measuring again")
        second, more_failed = _measure(scale, again, options.kafka, options.rounds)
        failed += more_failed
        worse = [name for name in _worse(second, scale) if name in worse]
    folder = options.output or (DOCUMENTS if len(suites) == len(SUITES) and scale is not SMOKE else None)
    if folder is not None:
        results = folder / RESULTS
        merged = load(results) | chapters
        save(results, merged)
        write_report(folder, merged, SUITES)
        _report(f"written: {folder / 'benchmarks.md'}")
    if options.record:
        _record(chapters, scale)
        if scale is FULL and not options.only:
            smoke, more_failed = _measure(SMOKE, suites, "embedded", ROUNDS_TO_RECORD)
            failed += more_failed
            _record(smoke, SMOKE)
    missed = _missed(chapters, scale) if scale is SMOKE and not options.only else []
    for name in worse:
        _report(f"got worse: {name}")
    for name in missed:
        _report(f"recorded, and not measured any more: {name}")
    for name in failed:
        _report(f"failed: {name}")
    return 1 if worse or missed or failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join(suite.NAME for suite in SUITES)
    parser.add_argument("--kafka", choices=("embedded", "apache"), default="embedded", help="the broker to start")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often each figure is measured")
    parser.add_argument("--scale", choices=tuple(SCALES), default=FULL.name, help="how much is measured")
    parser.add_argument("--only", metavar="NAME,…", help=f"some of {names}")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where benchmarks.md and its plots go")
    parser.add_argument("--document", action="store_true", help="measure nothing; only make the document anew")
    parser.add_argument("--record", action="store_true", help="keep the ratios as those to compare with")
    return parser


def _chosen(only: str | None) -> list[Suite]:
    if only is None:
        return list(SUITES)
    wanted = {name.strip() for name in only.split(",")}
    if unknown := wanted - {suite.NAME for suite in SUITES}:
        sys.exit(f"python -m bench: no suite is named {', '.join(sorted(unknown))}")
    return [suite for suite in SUITES if suite.NAME in wanted]


def _measure(scale: Scale, suites: Sequence[Suite], kafka: str, rounds: int | None) -> tuple[Chapters, list[str]]:
    """The chapters, and the names of the suites that failed; those still to come are measured all the same."""
    chapters: Chapters = {}
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name, Supervisor() as supervisor:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as another user when we are root
        _report("starting the servers")
        url = start_postgres(folder / "postgres", supervisor)
        broker: Broker = supervisor.add(
            ApacheKafka(folder / "kafka") if kafka == "apache" else EmbeddedBroker(folder / "broker")
        )
        broker.start()
        run = run_of(scale.name, url, broker)
        for number, suite in enumerate(suites, 1):
            _report(f"[{number}/{len(suites)}] {suite.TITLE}")
            chapter = Chapter(run)
            lab = Laboratory(
                scale=scale,
                rounds=rounds or scale.rounds,
                folder=folder,
                postgres_url=url,
                broker=broker,
                chapter=chapter,
                report=_report,
                alone=len(suites) == 1,
            )
            try:
                suite.run(lab)
            except Exception:  # noqa: BLE001 - the other figures are worth having
                traceback.print_exc()
                failed.append(suite.NAME)
                continue
            if chapter.measured or chapter.tables or chapter.notes:
                chapters[suite.NAME] = chapter
            else:
                _report("  left out at this scale")
    return chapters, failed


def _worse(chapters: Chapters, scale: Scale) -> list[str]:
    recorded = load_recorded(RECORDED).get(scale.name, {})
    return [
        each.figure.name
        for chapter in chapters.values()
        for each in chapter.measured
        if has_got_worse(each.figure, ratios(each.pairs).median, recorded)
    ]


def _missed(chapters: Chapters, scale: Scale) -> list[str]:
    """What was recorded, and isn't measured any more. (At other scales what is measured depends on the options.)"""
    measured = {each.figure.name for chapter in chapters.values() for each in chapter.measured}
    return sorted(load_recorded(RECORDED).get(scale.name, {}).keys() - measured)


def _record(chapters: Chapters, scale: Scale) -> None:
    recorded = load_recorded(RECORDED)
    found = {
        each.figure.name: ratios(each.pairs).median for chapter in chapters.values() for each in chapter.measured
    }
    save_recorded(RECORDED, recorded | {scale.name: recorded.get(scale.name, {}) | found})
    _report(f"recorded: {len(found)} ratios, scale {scale.name}")


def _report(text: str) -> None:
    """To standard error, with the time since we began."""
    minutes, seconds = divmod(int(time.monotonic() - _begun), 60)
    print(f"{minutes:3d}:{seconds:02d} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
