"""The document that is made of the results."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from bench.arithmetic import Figure, Judgement, Summary, judge, ratios, summary
from bench.laboratory import Suite
from bench.plots import svg
from bench.results import Chapter, Chapters, Measured, Plot, Run, Table

DOCUMENT: Final = "benchmarks.md"
PLOTS: Final = "benchmarks"
_INTRODUCTION: Final = """\
# Benchmarks

Made by `make bench`; don't edit. Every figure is a ratio between ours and a reference, measured on the same machine
in the same run, one right after the other and in turns: ours, reference, ours, reference … What is shown is the
median of the ratios, with the smallest and the largest, and beside it the medians of the absolute figures, which
mean little on another machine. PostgreSQL is durable throughout (fsync and synchronous commits), the same server
for both sides. All servers, clients and publishers share the machine.
"""


def write_report(folder: Path, chapters: Chapters, suites: Sequence[Suite]) -> None:
    """Writes the document and its plots."""
    plots = folder / PLOTS
    plots.mkdir(parents=True, exist_ok=True)
    ordered = [(suite, chapters[suite.NAME]) for suite in suites if suite.NAME in chapters]
    for _, chapter in ordered:
        for plot in chapter.plots:
            (plots / f"{plot.name}.svg").write_text(svg(plot), "utf-8")
    text = "\n".join([_INTRODUCTION, *_runs(ordered), *_all_chapters(ordered)])
    (folder / DOCUMENT).write_text(text.rstrip("\n") + "\n", "utf-8")


def _runs(ordered: Sequence[tuple[Suite, Chapter]]) -> Iterator[str]:
    """What was measured when, on what: once if all in one run."""
    runs: list[tuple[Run, list[str]]] = []
    for suite, chapter in ordered:
        for run, titles in runs:
            if run == chapter.run:
                titles.append(suite.TITLE)
                break
        else:
            runs.append((chapter.run, [suite.TITLE]))
    for run, titles in runs:
        about = "" if len(runs) == 1 else f" ({'; '.join(titles)})"
        yield f"**{run.at}**, commit `{run.commit}`, scale `{run.scale}`{about}\n"
        yield f"- machine: {_listed(run.machine)}"
        yield f"- versions: {_listed(run.versions)}\n"


def _listed(values: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _all_chapters(ordered: Sequence[tuple[Suite, Chapter]]) -> Iterator[str]:
    for suite, chapter in ordered:
        yield f"## {suite.TITLE}\n"
        yield f"{suite.ABOUT}\n"
        if chapter.measured:
            yield from _figures(chapter.measured)
        for plot in chapter.plots:
            yield _shown(plot)
        for table in chapter.tables:
            yield from _table(table)
        for note in chapter.notes:
            yield f"{note}\n"


def _figures(measured: Sequence[Measured]) -> Iterator[str]:
    columns = ["figure", "reference", "ratio", "from … to", "ours", "reference's", "must", "aim", ""]
    yield from _rows(columns, [_row(each) for each in measured])


def _row(measured: Measured) -> list[str]:
    figure, pairs = measured.figure, measured.pairs
    found = ratios(pairs)
    ours = summary([pair.ours for pair in pairs])
    reference = summary([pair.reference for pair in pairs])
    return [
        figure.title,
        figure.reference,
        f"**{shown(found.median)}×**",
        f"{shown(found.low)} … {shown(found.high)}",
        f"{_absolute(ours)} {figure.unit}",
        _absolute(reference),
        _limit(figure, figure.must),
        _limit(figure, figure.aim),
        str(judge(figure, found.median) or Judgement.OPEN),
    ]


def _limit(figure: Figure, limit: float | None) -> str:
    if limit is None:
        return "–"
    return f"{'≤' if figure.at_most else '≥'} {limit:g}×"


def shown(ratio: float) -> str:
    """With as many digits as tell something."""
    return f"{ratio:.1f}" if ratio >= 10 else f"{ratio:.2f}"


def _absolute(values: Summary) -> str:
    return f"{values.median:,.0f}" if values.median >= 100 else f"{values.median:,.1f}"


def _shown(plot: Plot) -> str:
    return f"![{plot.title}]({PLOTS}/{plot.name}.svg)\n"


def _table(table: Table) -> Iterator[str]:
    yield f"{table.title}:\n"
    yield from _rows(table.columns, table.rows)


def _rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""
