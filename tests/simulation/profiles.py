"""How a simulated world is set up: who is in it, and how much goes wrong."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

REPAIRS: Final = ("retry", "retry", "force", "force", "resume", "settle", "release", "discard")


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
    standstill_seconds: tuple[float, ...] = (0.3, 3.0, 15.0, 25.0, 70.0, 200.0)
    halts: float = 0.02
    """Updates of a cursor that stop half-way, inside PostgreSQL, while others go on."""
    kills: bool = True
    third_party_faults: float = 0.6
    """Calls that are slow, lost, refused or answered too late."""
    refusals: float = 0.0
    """Calls that the third party will not take as they are, so that their orders stand still for a person."""
    outages: float = 0.5
    """Runs with an outage of the third party, of up to a few minutes."""
    late_seconds: tuple[float, float] = (2.0, 60.0)
    """How long a request may be under way before it comes to the third party, whoever waits for it."""
    stall_seconds: tuple[float, ...] = (1.0, 8.0, 40.0)
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
    garbled: float = 0.0
    """Orders with a message that can't be read until somebody corrects it."""
    vanished: float = 0.0
    """Orders with a `sequence` of which a message never comes, and leaves a gap."""
    max_order_cashback: Decimal | None = None
    """An order that would earn more is doubtful."""
    may_overlap: float = 0.5
    """Runs in which requests come late and processes stand still between the look at the clock and the call."""
    stalls: float = 1 / 7
    """The share of such standstills among the faults of those runs."""
    often_paused: frozenset[str] = frozenset({"claimed_calls"})
    """Statements before which their actor stands still more often."""
    rewinds: float = 0.0
    """Runs in which the database goes back to an older copy: by a restore, or a replica that lacks commits."""
    rewound_seconds: tuple[float, ...] = (0.5, 5.0, 30.0)
    """How old that copy is."""
    operators: bool = True
    actions: tuple[str, ...] = REPAIRS
    """What operators do, each as often as it stands here (operators.py)."""
    pace_seconds: tuple[float, ...] = (20.0, 5.0, 0.5)
    """Between two actions of an operator."""
    jobs: int = 0
    """Processes that do what is asked for many orders at once."""


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
        pace_seconds=(5.0, 1.0, 0.1),
        actions=("retry", "retry", "force", "force", "resume", "resume", "release"),
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
    "people": Profile(
        "all that people can do without a risk, to one order and to many",
        orders=5,
        busy_seconds=240.0,
        max_order_cashback=Decimal(60),
        vanished=0.6,
        refusals=0.05,
        garbled=0.5,
        jobs=2,
        pace_seconds=(8.0, 2.0, 0.5),
        actions=(
            *("retry", "settle", "release", "discard", "reread", "force", "resume"),
            *("many redelivered", "many retried", "many settled", "many released", "compare"),
        ),
    ),
    "redeliveries": Profile(
        "orders of many slow calls are sent again while one of them is under way",
        orders=2,
        stamped=1.0,
        long_orders=True,
        lost_connections=0.005,
        pauses=0.002,
        may_overlap=1.0,
        third_party_faults=0.7,
        stalls=0.9,
        stall_seconds=(2.0, 5.0, 8.0),
        outages=0,
        unreadable=0,
        pace_seconds=(30.0, 15.0, 5.0),
        actions=("force", "force", "resume"),
    ),
    "arrivals": Profile(
        "calls come to orders of many slow calls between a claim and the reading of its calls",
        orders=2,
        stamped=1.0,
        long_orders=True,
        lost_connections=0.005,
        pauses=0.06,
        standstill_seconds=(1.0, 3.0, 5.0),
        may_overlap=1.0,
        third_party_faults=0.7,
        stalls=0.9,
        stall_seconds=(2.0, 5.0, 8.0),
        outages=0,
        unreadable=0,
        pace_seconds=(60.0,),
        actions=("retry",),
    ),
    "rewinds": Profile(
        "the database is restored from an older copy, or a replica takes over that lacks the last commits",
        rewinds=1.0,
        grows=False,
        may_overlap=1.0,
        outages=0,
        standstill_seconds=(0.3, 3.0, 15.0),
        actions=("retry", "resume"),
        unreadable=0,
    ),
    "risks": Profile(
        "people give calls up, and have them sent again under new keys or whatever has become of them",
        refusals=0.15,
        pace_seconds=(8.0, 2.0, 0.5),
        actions=("retry", "skip", "force", "resume", "new keys", "blind", "many redelivered", "compare"),
        jobs=1,
    ),
    "leases": Profile(
        "processes that stand still between a claim, its calls and its end",
        orders=2,
        stamped=1.0,
        long_orders=True,
        lost_connections=0.01,
        pauses=0.02,
        halts=0.05,
        may_overlap=1.0,
        third_party_faults=0.5,
        stalls=0.7,
        standstill_seconds=(0.3, 4.0, 6.0, 25.0),
        stall_seconds=(18.0, 19.0, 19.8, 40.0),
        outages=0,
        unreadable=0,
        often_paused=frozenset({"claimed_calls", "watch_sessions"}),
        pace_seconds=(8.0, 2.0, 0.5),
        actions=("retry", "force", "force", "resume"),
    ),
}
