"""One module for each part of the suite, in the order in which they run."""

from typing import Final

from bench.laboratory import Suite
from bench.suites import (
    failing,
    growth,
    idioms,
    intake,
    memory,
    partitions,
    path,
    processes,
    push,
    rebuild,
    seed,
    trickle,
    work,
)

SUITES: Final[tuple[Suite, ...]] = (
    *(intake, idioms, partitions, processes),
    *(push, seed, failing, work),
    *(trickle, path, rebuild, growth, memory),
)
