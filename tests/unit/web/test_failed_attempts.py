"""The limit on wrong tokens."""

import itertools
from dataclasses import dataclass
from typing import Final

import pytest

from adapters.web.failed_attempts import (
    MAX_ADDRESSES,
    MAX_FAILURES,
    MAX_FAILURES_PER_ADDRESS,
    WINDOW_SECONDS,
    FailedAttempts,
)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def failed(clock: Clock) -> FailedAttempts:
    return FailedAttempts(max_failures=MAX_FAILURES, clock=clock)


different: Final = itertools.count()


def fail(failed: FailedAttempts, address: str, times: int) -> None:
    for _ in range(times):
        assert failed.wait_seconds(address) == 0
        failed.note(address, b"wrong-%d" % next(different))


def test_an_address_waits_once_it_has_failed_too_often(failed: FailedAttempts, clock: Clock) -> None:
    """Until the first of its failures is forgotten; others don't wait."""
    fail(failed, "192.0.2.1", 1)
    clock.now += 10
    fail(failed, "192.0.2.1", MAX_FAILURES_PER_ADDRESS - 1)
    assert failed.wait_seconds("192.0.2.1") == WINDOW_SECONDS - 10
    assert failed.wait_seconds("192.0.2.2") == 0
    clock.now += WINDOW_SECONDS - 10.5
    assert failed.wait_seconds("192.0.2.1") == 1
    clock.now += 0.5
    fail(failed, "192.0.2.1", 1)
    assert failed.wait_seconds("192.0.2.1") == 10, "until the second one is forgotten"


def test_all_wait_once_there_were_too_many_failures_in_all(failed: FailedAttempts, clock: Clock) -> None:
    """However many addresses they came from; so no more than these are ever remembered."""
    for number in range(MAX_FAILURES):
        fail(failed, f"192.0.2.{number}", 1)
    assert failed.wait_seconds("198.51.100.1") == WINDOW_SECONDS
    clock.now += WINDOW_SECONDS
    assert failed.wait_seconds("198.51.100.1") == 0


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("not an address", "not an address", True),
        ("", "192.0.2.1", False),
    ],
)
def test_a_subscribers_addresses_count_as_one(
    failed: FailedAttempts, one: str, other: str, *, is_same: bool
) -> None:
    """With IPv6 they have as many as they like."""
    fail(failed, one, MAX_FAILURES_PER_ADDRESS)
    assert (failed.wait_seconds(other) > 0) == is_same


def test_the_same_wrong_token_again_is_no_guess(failed: FailedAttempts) -> None:
    """A program that still has an old token keeps nobody out, however often it asks."""
    for _ in range(10 * MAX_FAILURES):
        failed.note("192.0.2.1", b"an old one")
    fail(failed, "192.0.2.1", MAX_FAILURES_PER_ADDRESS - 1)
    assert failed.wait_seconds("192.0.2.1") > 0


def test_without_a_limit_in_all_nobody_waits_for_others(clock: Clock) -> None:
    """Whoever has a botnet can't keep programs from the API; and memory is bounded."""
    failed = FailedAttempts(clock=clock)
    for number in range(MAX_ADDRESSES + 1):
        failed.note(f"2001:db8:0:{number:x}::1", b"wrong")
    assert failed.wait_seconds("192.0.2.1") == 0
    assert len(failed._failures) == MAX_ADDRESSES
