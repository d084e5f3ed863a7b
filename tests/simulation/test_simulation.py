"""A seed is a whole run: it goes the same way each time, and nothing that must never be true is."""

from collections.abc import Iterator

import pytest
import structlog

from tests.simulation.database import simulation_database
from tests.simulation.profiles import PROFILES
from tests.simulation.world import Report, simulate

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url(postgres_server: str) -> Iterator[str]:
    with simulation_database(postgres_server) as made:
        yield made


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Outages by the hundred would be told."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


def run(url: str, profile: str, seed: int) -> Report:
    report = simulate(url, seed, PROFILES[profile])
    told = "\n".join(report.trace[-100:])
    command = f'make simulate ARGS="--seeds {seed} --profile {profile} --trace trace.txt"'
    assert report.problem is None, f"{report.problem}\n{told}\nagain: {command}"
    return report


def test_the_same_seed_goes_the_same_way(url: str) -> None:
    """By the hash over every statement, call, message and action; and another seed goes another."""
    first, again, other = run(url, "small", 1), run(url, "small", 1), run(url, "small", 2)
    assert first.trace == again.trace
    assert first.digest == again.digest != other.digest


@pytest.mark.parametrize("profile", sorted(set(PROFILES) - {"small"}))
def test_nothing_happens_that_must_not(url: str, profile: str) -> None:
    report = run(url, profile, 4)
    assert report.calls > 0
    assert report.counts.statements > 100
