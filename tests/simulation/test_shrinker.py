"""What a failing run doesn't need to fail is taken away."""

import random
import time

from tests.simulation.dice import QUIET, Dice, Plan
from tests.simulation.shrinker import Shrinker
from tests.simulation.world import Report


def test_streams_are_those_of_their_seed_and_name() -> None:
    def draws(seed: int, name: str) -> list[int]:
        stream = Dice(seed, Plan()).stream(name)
        return [stream.randrange(1000) for _ in range(5)]

    assert draws(1, "weather") == draws(1, "weather")
    assert draws(1, "weather") != draws(1, "turns")
    assert draws(1, "weather") != draws(2, "weather")


def test_a_quiet_draw_is_no_fault_and_the_first_choice_and_the_others_stay_what_they_were() -> None:
    dice, quieter = Dice(7, Plan()), Dice(7, Plan(quiet={"weather": [(1, 3)]}))
    loud, quiet = dice.stream("weather"), quieter.stream("weather")
    before, after = loud.random(), quiet.random()
    assert before == after
    assert (quiet.random(), quiet.choice("abc")) == (QUIET, "a")
    assert (loud.random(), loud.choice("abc")) != (QUIET, "a")
    assert quieter.drawn == {"weather": 3}
    assert 0.0 < QUIET < 1.0


def test_only_what_is_needed_is_left() -> None:
    """A run fails if order 2 and the second dispatcher are there and draw 41 of the weather isn't quiet."""

    def run(plan: Plan, _: float = 0.0) -> Report:
        orders = plan.only or {1, 2, 3}
        is_quiet = any(first <= 41 < end for first, end in plan.quiet.get("weather", ()))
        fails = 2 in orders and ("dispatcher", 2) not in plan.without and not is_quiet
        problem = f"call {random.randint(1, 9)} is wrong" if fails else None
        return Report(5, plan, problem, drawn={"weather": 100, "turns": 1000})

    processes = [("intake", 1), ("dispatcher", 1), ("dispatcher", 2)]
    found = Shrinker(run, 3, processes, run(Plan()), time.monotonic() + 60.0).shrink()
    assert found.plan.only == frozenset({2})
    assert found.plan.without == frozenset({("intake", 1), ("dispatcher", 1)})
    assert found.plan.quiet["turns"] == ((0, 1000),)
    left = [draw for draw in range(100) if not any(a <= draw < b for a, b in found.plan.quiet["weather"])]
    assert 41 in left
    assert len(left) <= 4


def test_a_run_that_fails_in_another_way_is_not_the_same() -> None:
    def run(plan: Plan, _: float = 0.0) -> Report:
        return Report(5, plan, "a call is wrong" if plan.only is None else "it takes longer", drawn={})

    assert Shrinker(run, 2, [], run(Plan()), time.monotonic() + 60.0).shrink().plan == Plan()
