"""One module for each part of the suite, in the order in which they run."""

from typing import Final

from bench.laboratory import Suite
from bench.suites import (
    bloat,
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
    roles,
    seed,
    shares,
    trickle,
    work,
)

SUITES: Final[tuple[Suite, ...]] = (
    *(intake, shares, idioms, partitions, processes),
    *(push, seed, failing, work, bloat),
    *(trickle, path, roles, rebuild, growth, memory),
)
