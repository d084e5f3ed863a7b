"""When a failed call is tried again."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.delivery.retry import RetryPolicy

seconds = st.floats(min_value=0.001, max_value=86_400)
policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 1000),
    base_seconds=seconds,
    max_seconds=st.floats(0.001, 86_400),
    retry_after_max_seconds=seconds,
)
rng = st.randoms(use_true_random=False)


@given(policy=policies, attempts=st.integers(1, 2000), rng=rng)
def test_a_wait_lies_between_nothing_and_the_doubled_base(
    policy: RetryPolicy, attempts: int, rng: random.Random
) -> None:
    """Full jitter: anything from 0 to base · 2ⁿ⁻¹, never above the cap, however many attempts there were."""
    wait_seconds = policy.wait_seconds(attempts, None, rng)
    assert 0 <= wait_seconds <= policy.max_seconds
    if attempts < 50:
        assert wait_seconds <= policy.base_seconds * 2 ** (attempts - 1)


def test_waits_are_spread_over_all_of_the_range() -> None:
    """Orders that failed together don't come back together."""
    policy, rng = RetryPolicy(base_seconds=1, max_seconds=64), random.Random(1)
    waits = [policy.wait_seconds(7, None, rng) for _ in range(4000)]
    for quarter in range(4):
        assert 900 < sum(quarter * 16 <= wait_seconds < (quarter + 1) * 16 for wait_seconds in waits) < 1100


@given(policy=policies, attempts=st.integers(1, 100), wished=st.floats(0, 10**9), rng=rng)
def test_a_wait_is_never_shorter_than_the_third_party_wishes(
    policy: RetryPolicy, attempts: int, wished: float, rng: random.Random
) -> None:
    """Up to a configured ceiling; and only its wish makes a wait longer than the cap."""
    wait_seconds = policy.wait_seconds(attempts, wished, rng)
    assert wait_seconds >= min(wished, policy.retry_after_max_seconds)
    assert wait_seconds <= max(policy.max_seconds, min(wished, policy.retry_after_max_seconds))


@pytest.mark.parametrize(("attempts", "longest"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 32.0), (8, 60.0), (999, 60.0)])
def test_the_range_doubles_up_to_the_cap(attempts: int, longest: float) -> None:
    """By default: half a second after the first failure, a minute at most."""
    policy, rng = RetryPolicy(), random.Random(1)
    waits = [policy.wait_seconds(attempts, None, rng) for _ in range(1000)]
    assert longest * 0.95 < max(waits) <= longest
