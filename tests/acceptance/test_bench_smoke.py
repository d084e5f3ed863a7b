"""The benchmarks, small: all figures are ratios, so this tells on any machine if something got much slower."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from bench.machine import ROOT
from bench.results import load, load_recorded

DEADLINE_SECONDS: Final = 280

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_no_ratio_is_below_half_of_the_recorded_one(tmp_path: Path) -> None:
    """Measured twice before it counts. A figure that was recorded and isn't measured any more is missed."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--scale", "smoke", "--output", str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    chapters = load(tmp_path / "benchmarks" / "results.json")
    measured = {each.figure.name for chapter in chapters.values() for each in chapter.measured}
    recorded = load_recorded(ROOT / "bench" / "recorded.json").get("smoke", {})
    assert measured >= recorded.keys()
    assert measured, done.stderr[-4000:]
    assert (tmp_path / "benchmarks.md").exists()
