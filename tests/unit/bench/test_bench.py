"""The arithmetic of the benchmarks, and the document that is made of them."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import messages
from bench.arithmetic import (
    Figure,
    Judgement,
    Pair,
    Summary,
    has_got_worse,
    judge,
    percentile,
    ratios,
    summary,
)
from bench.failing_third_party import always_fails
from bench.laboratory import Laboratory
from bench.machine import ROOT
from bench.plots import svg
from bench.report import write_report
from bench.results import Chapter, Measured, Plot, Run, Series, Table, load, load_recorded, save, save_recorded
from bench.scales import SCALES, SMOKE
from bench.stores import events_of, queues_of
from bench.suites import SUITES
from bench.suites.failing import mixed
from bench.suites.seed import PARTITIONS, by_partition
from sandbox.servers.embedded_kafka import EmbeddedBroker

FASTER = Figure("rate", "a rate", "another", "messages/s", must=0.35, aim=0.5)
SLOWER = Figure("latency", "a latency", "another", "ms", must=3.0, aim=2.0, at_most=True)
RUN = Run("2026-01-02T03:04Z", "0123456789ab", "smoke", {"cores": "2"}, {"Python": "3.11"})
PLOT = Plot("curve", "A curve <of two>", "x", "y", [Series("a & b", [(1.0, 5.0), (100.0, 10.0)])], log_x=True)


def test_the_median_ratio_is_of_the_pairs_not_of_the_medians() -> None:
    """Only what was measured together is compared: here the machine was twice as slow in the second round."""
    pairs = [Pair(100, 200), Pair(50, 100), Pair(90, 300)]
    assert ratios(pairs) == Summary(median=0.5, low=0.3, high=0.5)


def test_an_even_number_of_rounds_has_its_median_in_the_middle() -> None:
    """As statistics has it."""
    assert summary([4.0, 1.0, 3.0, 2.0]) == Summary(median=2.5, low=1.0, high=4.0)


def test_nothing_measured_is_an_error_and_not_a_zero() -> None:
    """A figure without a measurement must not pass for one."""
    with pytest.raises(ValueError, match="nothing was measured"):
        ratios([])


@pytest.mark.parametrize(
    ("figure", "ratio", "expected"),
    [
        (FASTER, 0.5, Judgement.AIM),
        (FASTER, 0.49, Judgement.MUST),
        (FASTER, 0.35, Judgement.MUST),
        (FASTER, 0.34, Judgement.BELOW),
        (SLOWER, 2.0, Judgement.AIM),
        (SLOWER, 3.0, Judgement.MUST),
        (SLOWER, 3.01, Judgement.BELOW),
        (Figure("free", "", "", ""), 0.01, Judgement.OPEN),
    ],
)
def test_a_figure_reaches_its_aim_or_what_it_must_or_neither(
    figure: Figure, ratio: float, expected: Judgement
) -> None:
    """Above for rates, below for times; a figure without targets reaches none and misses none."""
    assert judge(figure, ratio) is expected


@pytest.mark.parametrize(
    ("figure", "ratio", "expected"),
    [
        (FASTER, 0.2, False),
        (FASTER, 0.199, True),
        (FASTER, 4.0, False),
        (SLOWER, 0.8, False),
        (SLOWER, 0.801, True),
        (SLOWER, 0.1, False),
        (Figure("new", "", "", ""), 0.001, False),
        (Figure("rate", "", "", "", waits=True), 0.001, False),
    ],
)
def test_the_guard_speaks_up_below_half_of_what_was_recorded(
    figure: Figure, ratio: float, *, expected: bool
) -> None:
    """Or above twice that, where less is better; never for one that nobody has recorded, or that tells nothing."""
    assert has_got_worse(figure, ratio, {"rate": 0.4, "latency": 0.4}) is expected


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.1, 100))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values: list[float], percent: float) -> None:
    """The smallest such value (nearest rank)."""
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= percent / 100 * len(values) * (1 - 1e-9)
    assert sum(value < found for value in values) <= percent / 100 * len(values) * (1 + 1e-9)


def test_percentiles_of_a_hundred_values_are_those_values() -> None:
    """p50 of 1 … 100 is 50, p99 is 99."""
    values = [float(number) for number in range(100, 0, -1)]
    assert [percentile(values, percent) for percent in (1, 50, 99, 100)] == [1, 50, 99, 100]


def test_ours_and_the_reference_are_measured_in_turns(tmp_path: Path) -> None:
    """Never all of one before all of the other: the machine changes meanwhile."""
    order: list[str] = []

    def measure(name: str, value: float) -> float:
        order.append(name)
        return value

    lab = Laboratory(
        scale=SMOKE,
        rounds=3,
        folder=tmp_path,
        postgres_url="",
        broker=EmbeddedBroker(tmp_path),
        chapter=Chapter(RUN),
        report=lambda _: None,
    )
    measured = lab.compare(FASTER, lambda: measure("ours", 1), lambda: measure("reference", 4))
    assert order == ["ours", "reference"] * 3
    assert measured.pairs == [Pair(1, 4)] * 3
    assert lab.chapter.measured == [measured]


def test_results_are_the_same_after_they_were_kept(tmp_path: Path) -> None:
    """So that a run of some suites can be put beside an earlier run of the others."""
    chapter = Chapter(RUN, plots=[PLOT], tables=[Table("t", ["a"], [["1"]])], notes=["n"])
    save(tmp_path / "deep" / "results.json", {"intake": chapter})
    assert load(tmp_path / "deep" / "results.json") == {"intake": chapter}
    assert load(tmp_path / "absent.json") == {}


def test_recorded_ratios_are_kept_by_scale(tmp_path: Path) -> None:
    """Rounded: more digits would only make the file differ each time."""
    save_recorded(tmp_path / "recorded.json", {"smoke": {"b": 0.123456, "a": 1.0}})
    assert load_recorded(tmp_path / "recorded.json") == {"smoke": {"a": 1.0, "b": 0.123}}


def test_a_plot_is_well_formed_and_its_points_lie_where_their_values_say() -> None:
    """Greater values lie higher, and to the right; labels are escaped."""
    root = ET.fromstring(svg(PLOT))
    name = "{http://www.w3.org/2000/svg}"
    (left, right) = [(float(c.get("cx", 0)), float(c.get("cy", 0))) for c in root.iter(f"{name}circle")]
    assert left[0] < right[0]
    assert left[1] > right[1]
    assert {"A curve <of two>", "a & b"} <= {text.text for text in root.iter(f"{name}text")}


def test_a_plot_without_points_is_refused() -> None:
    """Rather than drawn as an empty frame."""
    with pytest.raises(ValueError, match="nothing to draw"):
        svg(Plot("empty", "", "", "", [Series("none", [])]))


def test_the_document_shows_ratio_spread_and_absolute_figures(tmp_path: Path) -> None:
    """And links to plots that are there."""
    chapter = Chapter(RUN, plots=[PLOT])
    lab_figure = Figure("intake-new", "intake", "ceiling", "messages/s", 0.35, 0.5)
    chapter.measured.append(Measured(lab_figure, [Pair(4000, 10000), Pair(3000, 10000), Pair(6000, 10000)]))
    write_report(tmp_path, {"intake": chapter}, SUITES)
    text = (tmp_path / "benchmarks.md").read_text("utf-8")
    assert (
        "| intake | ceiling | **0.40×** | 0.30 … 0.60 | 4,000 messages/s | 10,000 | ≥ 0.35× | ≥ 0.5× |"
        " reaches what it must |" in text
    )
    assert "benchmarks/curve.svg" in text
    assert (tmp_path / "benchmarks" / "curve.svg").exists()


def test_the_committed_document_is_made_of_the_committed_results(tmp_path: Path) -> None:
    """Nobody has edited it; `python -m bench --document` makes it anew."""
    chapters = load(ROOT / "docs" / "benchmarks" / "results.json")
    if not chapters:
        pytest.skip("nothing has been measured yet")
    write_report(tmp_path, chapters, SUITES)
    committed = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    assert (tmp_path / "benchmarks.md").read_text("utf-8") == committed


def test_every_suite_and_every_scale_has_a_name_of_its_own() -> None:
    """`--only` and `--scale` find them by it."""
    assert len({suite.NAME for suite in SUITES}) == len(SUITES)
    assert all(name == scale.name for name, scale in SCALES.items())


def test_copied_messages_tell_of_new_orders_and_are_decided_alike() -> None:
    """Every one of them is accepted, so every one asks for a call, each order's in their order."""
    sent = messages.lifecycles_of(30) + messages.lifecycles_of(30)
    assert len({each.order_id for each in sent}) == 60
    queues = queues_of(events_of(sent))
    assert sum(map(len, queues)) == len(sent)
    assert all([call.version for call in queue] == list(range(1, len(queue) + 1)) for queue in queues)


def test_each_order_of_the_second_topic_was_created_on_the_first() -> None:
    """Intake of existing orders must find what it looks for."""
    first, second = messages.creations(50)
    assert {each.order_id for each in first} == {each.order_id for each in second}
    assert {each.sequence for each in first} == {1}
    assert {each.sequence for each in second} == {2}


def test_the_storys_partitions_hold_each_orders_calls_in_order() -> None:
    """All of one order on one of six partitions, as Java's partitioner would have it."""
    events = events_of(messages.lifecycles_of(40))
    partitions = by_partition(events)
    assert len(partitions) == PARTITIONS
    assert sum(map(len, partitions)) == len(events)
    homes: dict[int, set[int]] = {}
    for number, calls in enumerate(partitions):
        for call in calls:
            homes.setdefault(call.order_id, set()).add(number)
    assert {len(found) for found in homes.values()} == {1}


@pytest.mark.parametrize("percent", [0, 1, 10])
def test_so_many_per_cent_of_the_orders_are_failing_ones(percent: int) -> None:
    """The healthy ones are as many each time: they are what is compared."""
    orders = [lifecycle[0].order_id for lifecycle in messages.by_order(mixed(990, percent))]
    failing = [order_id for order_id in orders if always_fails(order_id)]
    assert len(orders) - len(failing) == 990
    assert len(failing) == round(990 * percent / (100 - percent))
