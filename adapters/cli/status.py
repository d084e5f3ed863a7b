"""The command `status`: what stands still and the money in it, how fast it goes, and how the processes are."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from adapters.cli.database import ask_database
from adapters.cli.output import facts, moment, print_json, say, table
from adapters.postgres.pool import Database
from adapters.postgres.service_status import SAMPLE_SECONDS, PostgresConsole
from adapters.presentation.formatting import NOTHING, age, amount, count, rate
from adapters.presentation.overview import RATE_SECONDS, Overview, overview
from adapters.records.money_may_be_wrong import CaseLimits
from adapters.records.status import KEPT_SECONDS, ProcessRow, Sample, ServiceCounts, Stalled

PATIENCE_SECONDS: Final = 4.0 * SAMPLE_SECONDS
POLL_SECONDS: Final = 0.2
_STILL: Final = ("parked", "held", "quarantined", "waiting")
_COUNTED: Final = ("messages", "events", "attempts")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The service at one moment. `rates` are per second, over the last RATE_SECONDS."""

    at: datetime
    numbers: ServiceCounts
    rates: dict[str, float | None]
    overview: Overview


def run_status(url: str, limits: CaseLimits, *, as_json: bool) -> int:
    """Answers the exit code: 0, whatever stands still."""
    seen = ask_database(url, lambda database: _read(database, limits))
    if as_json:
        print_json(_as_json(seen))
    else:
        _show(seen)
    return 0


async def _read(database: Database, limits: CaseLimits) -> Snapshot:
    """With a sample of our own if nobody has just taken one: no process with the API need run."""
    console = PostgresConsole(database, limits)
    samples, processes = await _samples(console), await console.processes()
    now = datetime.now(UTC)
    return Snapshot(samples[-1].taken_at, samples[-1].numbers, _rates(samples), overview(samples, processes, now))


async def _samples(console: PostgresConsole) -> Sequence[Sample]:
    """One at least: who has taken this step's may still be at it, or have died over it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        await console.take_sample()
        while not (samples := await console.samples(KEPT_SECONDS)):
            await asyncio.sleep(POLL_SECONDS)
            await console.take_sample()
    return samples


def _rates(samples: Sequence[Sample]) -> dict[str, float | None]:
    last = samples[-1]
    recent = [each for each in samples if (last.taken_at - each.taken_at).total_seconds() <= RATE_SECONDS]
    seconds = (last.taken_at - recent[0].taken_at).total_seconds()
    return {name: _rate(recent[0].numbers, last.numbers, name, seconds) for name in _COUNTED}


def _rate(before: ServiceCounts, after: ServiceCounts, name: str, seconds: float) -> float | None:
    """A counter that went back (a topic was made again) counts as standing still."""
    return max(0, getattr(after, name) - getattr(before, name)) / seconds if seconds > 0 else None


def _as_json(seen: Snapshot) -> dict[str, Any]:
    numbers = seen.numbers
    still = {name: _still(getattr(numbers, name)) for name in _STILL}
    rates = {f"{name}PerSecond": None if each is None else round(each, 3) for name, each in seen.rates.items()}
    counters = {name: getattr(numbers, name) for name in _COUNTED}
    return (
        {"takenAt": seen.at}
        | still
        | counters
        | rates
        | {
            "lag": numbers.lag,
            "unprojected": numbers.unprojected,
            "doubtful": numbers.doubtful,
            "differences": numbers.differences,
            "moneyMayBeWrong": {
                kind: {"number": each.number, "amountAtStake": each.amount}
                for kind, each in numbers.money_may_be_wrong.items()
            },
            "failedShare": seen.overview.failed_share,
            "breakers": seen.overview.breakers,
            "troubles": seen.overview.troubles,
            "processes": [_process(each) for each in seen.overview.processes],
        }
    )


def _still(still: Stalled) -> dict[str, Any]:
    return {"number": still.number, "since": still.since, "cashbackAmount": still.amount}


def _process(row: ProcessRow) -> dict[str, Any]:
    return {"name": row.name, "roles": row.roles, "startedAt": row.started_at, "seenAt": row.seen_at} | row.state


def _show(seen: Snapshot) -> None:
    numbers, now = seen.numbers, datetime.now(UTC)
    say(f"at {moment(seen.at)}", "bold")
    rows = [_still_cells(name, getattr(numbers, name), now) for name in _STILL]
    table(("stands still", "number", "cashback", "for"), rows, right=("number", "cashback"))
    share = seen.overview.failed_share
    say()
    at_stake = seen.overview.at_stake
    facts(
        (
            ("orders whose money may be wrong", f"{count(at_stake.number)}, {amount(at_stake.amount)} at stake"),
            ("doubtful orders", count(numbers.doubtful)),
            ("differences from the third party's books", count(numbers.differences)),
            ("messages waiting on the topic", NOTHING if numbers.lag is None else count(numbers.lag)),
            ("events that the projections haven't seen", f"{numbers.unprojected:,}"),
            ("messages read per second", _shown(seen.rates["messages"])),
            ("decisions per second", _shown(seen.rates["events"])),
            ("calls per second", _shown(seen.rates["attempts"])),
            ("of these failed", NOTHING if share is None else f"{share:.1%}"),
        )
    )
    say()
    if seen.overview.processes:
        columns = ("process", "roles", "ready", "breaker", "lag", "runs for", "heard of")
        rows = [_process_cells(each, now) for each in seen.overview.processes]
        table(columns, rows, right=("lag",), drop=("heard of", "runs for", "roles", "lag"))
    else:
        say("no process of the service has been heard of lately", "bold red")
    for trouble in (*seen.overview.troubles, *seen.overview.breakers):
        say(f"! {trouble}", "bold red")


def _still_cells(name: str, still: Stalled, now: datetime) -> Sequence[object]:
    # Of what waits, and of what can't be read, nobody adds up the money.
    money = amount(still.amount) if name in {"parked", "held"} else None
    since = age(still.since, now) if still.number and still.since else None
    return name, count(still.number), money, since


def _process_cells(row: ProcessRow, now: datetime) -> Sequence[object]:
    told = row.state
    ready = "yes" if told.get("ready") else "NO"
    heard = age(row.started_at, now), f"{age(row.seen_at, now)} ago"
    return row.name, ",".join(row.roles), ready, told.get("breaker"), told.get("lag"), *heard


def _shown(per_second: float | None) -> str:
    return NOTHING if per_second is None else rate(per_second)
