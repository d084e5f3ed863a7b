"""How a simulated world is set up: who is in it, and how much goes wrong."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Profile:
    """Rates are per statement or per call, times in virtual seconds."""

    about: str
    orders: int = 4
    partitions: int = 3
    busy_seconds: float = 150.0
    """So long messages are published and things go wrong. Then the weather is fine until all is settled."""
    lost_connections: float = 0.02
    """Statements whose connection is lost, before or after they were executed."""
    pauses: float = 0.01
    """Statements before which their actor stands still."""
    halts: float = 0.02
    """Updates of a cursor that stop half-way, inside PostgreSQL, while others go on."""
    kills: bool = True
    third_party_faults: float = 0.6
    """Calls that are slow, lost, refused or answered too late."""
    outages: float = 0.5
    """Runs with an outage of the third party, of up to a few minutes."""
    late_seconds: tuple[float, float] = (2.0, 9.0)
    """How long a request may be under way before it comes to the third party, whoever waits for it."""
    stall_seconds: tuple[float, ...] = (1.0, 8.0)
    """How long a process may stand still between its last look at the clock and the call."""
    stamped: float = 0.6
    """Orders whose messages carry a `sequence`, and come on any partition, in any order."""
    long_orders: bool = False
    """With more calls than one claim takes."""
    grows: bool = True
    """Partitions are added, and the orders without a `sequence` change theirs."""
    returns: bool = False
    """Orders change after their end, and the third party takes corrections."""
    unreadable: float = 0.3
    """Runs with a message that can't be read."""
    operators: bool = True
    pace_seconds: tuple[float, ...] = (0.5, 5.0, 20.0)
    """Between two actions of an operator."""
    skips: bool = False
    """Operators give calls up, too."""


PROFILES: Final = {
    "calm": Profile(
        "nothing goes wrong but the order of messages",
        lost_connections=0,
        pauses=0,
        halts=0,
        kills=False,
        third_party_faults=0,
        outages=0,
        operators=False,
    ),
    "faults": Profile("everything goes wrong, and operators repair"),
    "small": Profile("as `faults`, for a run of a few seconds", orders=2, busy_seconds=60.0),
    "delivery": Profile(
        "many calls under few orders: leases, crashes, doubts, redeliveries",
        orders=2,
        stamped=1.0,
        long_orders=True,
        pace_seconds=(0.1, 1.0, 5.0),
        pauses=0.02,
        halts=0.1,
        third_party_faults=0.8,
        unreadable=0,
    ),
    "intake": Profile(
        "many consumers, zombies and rebalances; the third party does as it should",
        orders=6,
        partitions=4,
        lost_connections=0.04,
        halts=0.1,
        third_party_faults=0,
        outages=0,
        operators=False,
    ),
    "corrections": Profile("orders change after their end", returns=True),
    "skips": Profile("operators give calls up", skips=True),
}
