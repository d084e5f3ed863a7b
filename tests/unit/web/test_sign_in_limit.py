"""The limit on failed attempts to sign in."""

from dataclasses import dataclass

import pytest

from adapters.web.console.sign_in_limit import (
    MAX_FAILURES,
    MAX_FAILURES_PER_ADDRESS,
    WINDOW_SECONDS,
    FailedSignIns,
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
def failed(clock: Clock) -> FailedSignIns:
    return FailedSignIns(clock=clock)


def fail(failed: FailedSignIns, address: str, times: int) -> None:
    for _ in range(times):
        assert failed.wait_seconds(address) == 0
        failed.note(address)


def test_an_address_waits_once_it_has_failed_too_often(failed: FailedSignIns, clock: Clock) -> None:
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


def test_all_wait_once_there_were_too_many_failures_in_all(failed: FailedSignIns, clock: Clock) -> None:
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
    failed: FailedSignIns, one: str, other: str, *, is_same: bool
) -> None:
    """With IPv6 they have as many as they like."""
    fail(failed, one, MAX_FAILURES_PER_ADDRESS)
    assert (failed.wait_seconds(other) > 0) == is_same
