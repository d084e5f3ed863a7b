"""What a process tells of itself."""

import pytest

from adapters.observability.health import Health
from adapters.runtime.process_status import ProcessState
from projections.delivery.breaker import BreakerState


@pytest.fixture
def state() -> ProcessState:
    return ProcessState(Health())


def test_an_outage_has_its_beginning_and_its_reason_until_it_is_over(state: ProcessState) -> None:
    """From the first opening on, however often it is tried in between; and the last reason that was given."""
    assert "breakerSince" not in state.snapshot()
    state.breaker_changed(BreakerState.OPEN, "the third party is down: status 503")
    began = state.snapshot()["breakerSince"]
    for step in (BreakerState.PROBING, BreakerState.OPEN, BreakerState.PROBING):
        state.breaker_changed(step, "the third party is down: no connection")
    told = state.snapshot()
    assert (told["breaker"], told["breakerSince"]) == ("probing", began)
    assert told["breakerReason"] == "the third party is down: no connection"
    state.breaker_changed(BreakerState.CLOSED, "")
    assert {"breakerSince", "breakerReason"}.isdisjoint(state.snapshot())
