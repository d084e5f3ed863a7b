"""Checks the model of delivery (delivery.pml) with SPIN: python -m tests.simulation.model

All that can happen within its bounds, in any order, not what a seed draws. Without `spin` and a C compiler nothing
is checked, and it says so.
"""

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MODEL: Final = Path(__file__).with_name("delivery.pml")
SECONDS: Final = 25.0
"""So long a search goes on that isn't through before."""
FLAGS: Final = ("-O2", "-w", "-DSAFETY", "-DBITSTATE")
SEARCH: Final = ("-m10000", "-w30", "-k2")
"""States are known by two bits among 2^30: of a few million none is passed over, but by great bad luck."""
NOT_HERE: Final = "the model of delivery wasn't checked: `spin` or a C compiler isn't here"


@dataclass(frozen=True, slots=True)
class Check:
    """One way to set the model up."""

    about: str
    settings: tuple[str, ...]
    is_broken: bool = False
    """A rule is left out: a counterexample must be found."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of it."""

    is_broken: bool
    states: int
    is_exhausted: bool


CHECKS: Final = (
    Check("two calls, a crash", ("N=2", "TMAX=7")),
    Check("a redelivery, no crash", ("N=2", "TMAX=7", "REDELIVER=1", "CRASHES=0")),
    Check("a skip and a retry", ("N=2", "TMAX=7", "SKIP=1", "CRASHES=0")),
    Check("a correction, late requests within the margin", ("N=3", "CORRECT", "R=7", "P=4", "LATE=3", "TMAX=9")),
    Check("a lease that isn't looked at", ("N=2", "STALL", "M_FIT"), is_broken=True),
    Check("keys that last for ever", ("N=2", "M_NO_RETENTION"), is_broken=True),
    Check("late requests without a margin", ("N=2", "LATE=4", "P=5", "R=5"), is_broken=True),
    Check("claims that leave no mark", ("N=2", "M_NO_CLAIM_MARK"), is_broken=True),
)


def is_here() -> bool:
    return all(map(shutil.which, ("spin", "cc")))


def check(settings: Sequence[str], seconds: float = SECONDS) -> Verdict:
    """Searches for a counterexample. Raises subprocess.CalledProcessError if the model can't be read."""
    with tempfile.TemporaryDirectory(prefix="cashback-model-") as folder:
        defined = [f"-D{each}" for each in settings]
        for made in (["spin", *defined, "-a", str(MODEL)], ["cc", *FLAGS, "-o", "pan", "pan.c"]):
            subprocess.run(made, cwd=folder, check=True, capture_output=True)
        search = subprocess.Popen(["./pan", *SEARCH], cwd=folder, stdout=subprocess.PIPE, text=True)
        try:
            told, _ = search.communicate(timeout=seconds)
            is_exhausted = True
        except subprocess.TimeoutExpired:
            search.send_signal(signal.SIGINT)
            told, _ = search.communicate()
            is_exhausted = False
    stored = re.search(r"(\d+)(?:\.\d+)?(e\+\d+)? states, stored", told)
    states = round(float("".join(each or "" for each in stored.groups()))) if stored else 0
    return Verdict("errors: 0" not in told, states, is_exhausted)


def main() -> int:
    if not is_here():
        print(NOT_HERE)
        return 0
    wrong = 0
    for each in CHECKS:
        found = check(each.settings)
        is_right = found.is_broken == each.is_broken
        wrong += not is_right
        said = "counterexample" if found.is_broken else "holds"
        searched = "all" if found.is_exhausted else f"the first {SECONDS:g} s"
        print(f"{'' if is_right else 'WRONG: '}{each.about}: {said}; {found.states} states, {searched}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
