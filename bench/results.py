"""Measurements, kept as JSON beside the document that is made of it: a run of some suites replaces only theirs."""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.arithmetic import Figure, Pair


@dataclass(frozen=True, slots=True)
class Run:
    """The circumstances of a run."""

    at: str
    """RFC 3339, to the minute."""
    commit: str
    scale: str
    machine: dict[str, str]
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Series:
    label: str
    points: list[tuple[float, float]]
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """A curve or several. `log_x`: equal steps are equal factors."""

    name: str
    title: str
    x_label: str
    y_label: str
    series: list[Series]
    log_x: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Figures that have no reference."""

    title: str
    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure and what was measured for it."""

    figure: Figure
    pairs: list[Pair]


@dataclass(slots=True)
class Chapter:
    """What one suite has measured in one run."""

    run: Run
    measured: list[Measured] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


Chapters = dict[str, Chapter]
"""By the suite's name."""


def load(file: Path) -> Chapters:
    """Nothing if there is no such file yet. Raises msgspec.DecodeError."""
    return msgspec.json.decode(file.read_bytes(), type=Chapters) if file.exists() else {}


def save(file: Path, chapters: Chapters) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(chapters), indent=1) + b"\n")


Recorded = dict[str, dict[str, float]]
"""Ratios by scale and figure: like is compared with like."""


def load_recorded(file: Path) -> Recorded:
    return msgspec.json.decode(file.read_bytes(), type=Recorded) if file.exists() else {}


def save_recorded(file: Path, recorded: Recorded) -> None:
    rounded = {
        scale: {name: round(ratio, 3) for name, ratio in sorted(figures.items())}
        for scale, figures in sorted(recorded.items())
    }
    file.write_bytes(msgspec.json.format(msgspec.json.encode(rounded), indent=2) + b"\n")
