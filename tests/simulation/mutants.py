"""Faults in the protocol, each one line of the product changed as it is imported: all must be found.

python -m tests.simulation.mutants [NAME …] runs each in a process of its own, until it is found or its seeds have
run. One that lives fails the run.
"""

import argparse
import importlib.machinery
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SEEDS: Final = 60
"""In which it must be found, for those that have no other number."""
_SQL_READER: Final = "adapters/postgres/sql/__init__.py"
_READS: Final = 'text = files(__package__).joinpath(f"{file}.sql").read_text("utf-8")'


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` stands once in the file."""

    about: str
    file: str
    old: str
    new: str
    profile: str = "delivery"
    seeds: int = SEEDS
    equivalent: str = ""
    """Why it changes nothing that could be seen. Then it isn't run, unless it is named."""


_DELIVERY_SQL: Final = "adapters/postgres/sql/delivery.sql"
_INTAKE_SQL: Final = "adapters/postgres/sql/intake.sql"
_PROJECTIONS_SQL: Final = "adapters/postgres/sql/projections.sql"
_REPLAYS_SQL: Final = "adapters/postgres/sql/replays.sql"
_SENDER: Final = "projections/delivery/sender.py"
_DISPATCHER: Final = "projections/delivery/dispatcher.py"

MUTANTS: Final = {
    "no_compare_and_set": Mutant(
        "a position moves from wherever it is",
        _INTAKE_SQL,
        "WHERE p.next_offset = w.expected AND p.loss IS NULL",
        "WHERE p.loss IS NULL",
        "intake",
    ),
    "fence_ignored": Mutant(
        "a batch that was fenced counts as stored",
        "adapters/postgres/event_store.py",
        'if not fence["holds"]:',
        "if False:",
        "intake",
    ),
    "tail_without_lock": Mutant(
        "ids of events aren't handed out in the order of commits",
        _INTAKE_SQL,
        "SELECT pg_advisory_xact_lock(4223372036), pg_notify('cashback_events', '') FROM fence",
        "SELECT 0, pg_notify('cashback_events', '') FROM fence",
        "intake",
    ),
    "undo_forgotten": Mutant(
        "what was decided upon a batch that failed is stored all the same",
        "adapters/kafka/consumer/intake.py",
        "        self._ahead.clear()",
        "        pass",
        "intake",
    ),
    "projection_without_lock": Mutant(
        "two processes work at one projection",
        _PROJECTIONS_SQL,
        "FROM projection_position WHERE name = %s FOR UPDATE SKIP LOCKED",
        "FROM projection_position WHERE name = %s",
        "intake",
    ),
    "projection_stands_still": Mutant(
        "the position of a projection doesn't move",
        _PROJECTIONS_SQL,
        "SET notification_id = %s, updated_at",
        "SET notification_id = least(notification_id, %s), updated_at",
        "intake",
    ),
    "projection_wakes_leased": Mutant(
        "a new call makes an order due that a dispatcher is at",
        _PROJECTIONS_SQL,
        "CASE WHEN d.settled_version = d.head_version AND d.lease_token IS NULL",
        "CASE WHEN true",
    ),
    "claim_without_lock": Mutant(
        "two dispatchers claim one order",
        _DELIVERY_SQL,
        "    FOR UPDATE SKIP LOCKED\n), /* lost */",
        "), /* lost */",
    ),
    "no_lease": Mutant(
        "an order is due while it is being called",
        _DELIVERY_SQL,
        "next_attempt_at = now() + %(lease_seconds)s * interval '1 second'",
        "next_attempt_at = now()",
    ),
    "no_claim_mark": Mutant(
        "calls of a claim that was never settled count as never sent",
        _DELIVERY_SQL,
        "claimed_at = now(), claimed_head = d.head_version",
        "claimed_at = NULL, claimed_head = d.head_version",
    ),
    "settle_ignores_token": Mutant(
        "a lease that was lost is settled",
        _DELIVERY_SQL,
        "WHERE d.lease_token = g.token ORDER BY",
        "WHERE true ORDER BY",
    ),
    "first_sending_forgotten": Mutant(
        "a key's age counts from the last attempt",
        _DELIVERY_SQL,
        "first_sent_at = coalesce(e.first_sent_at, CASE WHEN r.sendings > 0 THEN ended.claimed_at END)",
        "first_sent_at = now()",
    ),
    "calls_beyond_head": Mutant(
        "calls are claimed that came after the claim",
        _DELIVERY_SQL,
        "AND version > d.settled_version AND version <= d.claimed_head\n        AND state NOT IN"
        " ('delivered', 'skipped')\n    ORDER BY version LIMIT %(calls)s\n) AS e",
        "AND version > d.settled_version\n        AND state NOT IN ('delivered', 'skipped')\n    ORDER BY version"
        " LIMIT %(calls)s\n) AS e",
        "arrivals",
    ),
    "redelivery_keeps_token": Mutant(
        "a claim from before a redelivery is settled after it",
        _REPLAYS_SQL,
        "lease_token = CASE WHEN next_attempt_at > clock_timestamp() AND settled_version < %(first)s\n"
        "                       THEN lease_token END",
        "lease_token = lease_token",
        equivalent="where the cursor goes back, `note_lost` has taken the token away in the same transaction",
    ),
    "redelivery_at_once": Mutant(
        "a redelivery ends the lease under way",
        _REPLAYS_SQL,
        "greatest(CASE WHEN claimed_at IS NOT NULL OR lease_token IS NOT NULL THEN next_attempt_at END,",
        "greatest(NULL,",
    ),
    "redelivery_notes_nothing_lost": Mutant(
        "a person's action forgets that calls may have been sent",
        "adapters/postgres/delivery_cursors.py",
        "await connection.execute(_NOTE_LOST, {",
        "dict(_SQL and {",
        "redeliveries",
    ),
    "in_doubt_is_delivered": Mutant(
        "no answer counts as a good one",
        _SENDER,
        "return None if answer.outcome is Outcome.DELIVERED else",
        "return None if answer.outcome in {Outcome.DELIVERED, Outcome.IN_DOUBT} else",
    ),
    "key_for_each_attempt": Mutant(
        "another key each time",
        "adapters/postgres/ledger.py",
        "Call(order_id, row[3], EffectKind(row[4]), row[5], row[6])",
        "Call(order_id, row[3], EffectKind(row[4]), UUID(int=row[5].int ^ row[8]), row[6])",
    ),
    "keys_last_for_ever": Mutant(
        "the third party is believed to remember all keys",
        _SENDER,
        "if self._key_may_be_forgotten(call, work):",
        "if False:",
    ),
    "lease_from_answer": Mutant(
        "a lease counts from the answer to the claim",
        _DISPATCHER,
        "self._work(claim, claimed_at, epoch)",
        "self._work(claim, self._monotonic(), epoch)",
        "leases",
    ),
    "lease_fit_unchecked": Mutant(
        "a call is begun whose lease may end before it does",
        _SENDER,
        "fits = self._monotonic() + self._policy.call_timeout_seconds < work.lease_ends",
        "fits = True",
        "leases",
    ),
}


def install(mutant: Mutant) -> None:
    """Changes the source text when it is imported; nothing on disk. Before the product is imported."""
    text = (ROOT / mutant.file).read_text("utf-8")
    assert text.count(mutant.old) == 1, f"{mutant.file} has {text.count(mutant.old)} times: {mutant.old}"
    changed = {ROOT / mutant.file: text.replace(mutant.old, mutant.new)}
    if mutant.file.endswith(".sql"):
        reader = ROOT / _SQL_READER
        source = reader.read_text("utf-8")
        assert source.count(_READS) == 1
        stem = Path(mutant.file).stem
        then = f"\n    if file == {stem!r}:\n        text = text.replace({mutant.old!r}, {mutant.new!r})"
        changed = {reader: source.replace(_READS, _READS + then)}
    loader = importlib.machinery.SourceFileLoader
    original = loader.get_code

    def get_code(self: importlib.machinery.SourceFileLoader, fullname: str) -> CodeType | None:
        path = Path(self.get_filename(fullname))
        if path in changed:
            code: CodeType = self.source_to_code(changed[path].encode(), str(path))
            return code
        return original(self, fullname)

    loader.get_code = get_code  # type: ignore[method-assign, assignment]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", default=[], help="all that aren't equivalent, unless told otherwise")
    parser.add_argument("--seeds", type=int, help="for each, instead of its own number")
    parser.add_argument("--here", action="store_true", help="in this process, and only one; tells how it was found")
    parser.add_argument("--shrink-seconds", type=float, default=0.0, help="with --here: so long that is shrunk")
    options = parser.parse_args()
    if options.here:
        return _run_here(options.names[0], options.seeds or MUTANTS[options.names[0]].seeds, options.shrink_seconds)
    names = options.names or [name for name, mutant in MUTANTS.items() if not mutant.equivalent]
    living = [name for name in names if not _dies(name, options.seeds)]
    print(f"{len(names) - len(living)} of {len(names)} mutants died; alive: {living or 'none'}")
    return 1 if living else 0


def _dies(name: str, seeds: int | None) -> bool:
    mutant = MUTANTS[name]
    began = time.monotonic()
    command = [sys.executable, "-m", "tests.simulation.mutants", name, "--here"]
    ran = subprocess.run(
        [*command, "--seeds", str(seeds or mutant.seeds)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found = [line for line in ran.stdout.splitlines() if line.startswith("seed ")]
    took = time.monotonic() - began
    print(f"{name:32} {took:5.0f} s  {found[0] if found else 'ALIVE ' + ran.stderr[-300:]}", flush=True)
    return bool(found)


def _run_here(name: str, seeds: int, shrink_seconds: float) -> int:
    mutant = MUTANTS[name]
    install(mutant)
    from tests.simulation.__main__ import run

    return run(["--seeds", f"1-{seeds}", "--profile", mutant.profile, "--shrink-seconds", str(shrink_seconds)])


if __name__ == "__main__":
    sys.exit(main())
