"""How much each scale measures: `smoke` in a minute for the tests, `small` in five, `full` for the document."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Sizes of all figures. A suite whose size is 0 or empty is left out."""

    name: str
    rounds: int
    new_messages: int
    """Of orders that the store doesn't know."""
    intake_messages: int
    """Of orders that the store knows, one each. As many as of new ones where the rate is to be a sustained one: the
    disk only notes what is written in a second or so."""
    idiom_messages: int
    """For references that commit each message on its own."""
    push_latencies_ms: tuple[int, ...]
    push_processes: tuple[int, ...]
    push_seconds: float
    """About so long each measurement of push takes."""
    seed_latencies_ms: tuple[int, ...]
    failing_percents: tuple[int, ...]
    trickle_seconds: float
    rebuild_events: tuple[int, ...]
    growth_events: tuple[int, int] | None
    """Stored before, in the small and in the grown store."""
    rebuild_seconds: float
    """A rebuild that takes longer is cut short, and counts for what it has done."""
    memory_messages: tuple[int, int] | None
    """After how many the memory is looked at first, and how many there are in all."""
    path_orders: int
    partitions: tuple[int, ...]
    process_messages: int
    work_orders: int
    bloat_deliveries: int
    bloat_events: int


SMOKE: Final = Scale(
    name="smoke",
    rounds=1,
    new_messages=4_000,
    intake_messages=3_000,
    idiom_messages=200,
    push_latencies_ms=(10,),
    push_processes=(1,),
    push_seconds=1.0,
    seed_latencies_ms=(10,),
    failing_percents=(),
    trickle_seconds=1.5,
    rebuild_events=(10_000,),
    growth_events=None,
    rebuild_seconds=10.0,
    memory_messages=None,
    path_orders=0,
    partitions=(),
    process_messages=0,
    work_orders=200,
    bloat_deliveries=8_000,
    bloat_events=0,
)
SMALL: Final = Scale(
    name="small",
    rounds=2,
    new_messages=20_000,
    intake_messages=10_000,
    idiom_messages=600,
    push_latencies_ms=(1, 10, 100),
    push_processes=(1, 2),
    push_seconds=1.5,
    seed_latencies_ms=(10, 100),
    failing_percents=(1, 10),
    trickle_seconds=4.0,
    rebuild_events=(20_000, 100_000),
    growth_events=(20_000, 200_000),
    rebuild_seconds=10.0,
    memory_messages=(60_000, 120_000),
    path_orders=1_000,
    partitions=(1, 12, 48),
    process_messages=20_000,
    work_orders=500,
    bloat_deliveries=50_000,
    bloat_events=50_000,
)
FULL: Final = Scale(
    name="full",
    rounds=3,
    new_messages=60_000,
    intake_messages=60_000,
    idiom_messages=1_500,
    push_latencies_ms=(1, 10, 100),
    push_processes=(1, 2),
    push_seconds=3.0,
    seed_latencies_ms=(10, 100),
    failing_percents=(1, 10),
    trickle_seconds=10.0,
    rebuild_events=(100_000, 1_000_000),
    growth_events=(50_000, 5_000_000),
    rebuild_seconds=45.0,
    memory_messages=(100_000, 300_000),
    path_orders=3_000,
    partitions=(1, 12, 48),
    process_messages=60_000,
    work_orders=3_000,
    bloat_deliveries=1_000_000,
    bloat_events=1_000_000,
)
ROUNDS_TO_RECORD: Final = 3
SCALES: Final = {scale.name: scale for scale in (SMOKE, SMALL, FULL)}
LONG_MEMORY_MESSAGES: Final = (100_000, 1_000_000)
"""In place of `memory_messages` where a full run is asked for nothing else."""
