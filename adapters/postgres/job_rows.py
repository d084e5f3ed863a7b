"""Rows of the table of jobs as records, and what stands in their JSON columns."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from adapters.records.jobs import (
    COMPARE,
    BulkMode,
    ComparisonFinding,
    ComparisonResult,
    Foretold,
    Job,
    JobState,
    KindName,
    Settling,
)
from domain.exact_json import loads
from domain.lifecycle import Status
from projections.reconciliation import BookEntry, Verdict
from projections.redelivery import How, Include, RedeliveryOptions


def job_of(row: dict[str, Any]) -> Job:
    """From the columns of the statement `page`, by name."""
    own = ("options", "calls", "suppressed", "amount_at_risk", "at_stake", "is_of_all", "verdicts", "findings")
    options, calls, suppressed, at_risk, at_stake, is_of_all, verdicts, findings = map(row.pop, own)
    job = Job(**row | {"kind": kind_named(row["kind"]), "state": JobState(row["state"])})
    found = loads(findings)
    match job.kind:
        case "compare":
            counts = {Verdict(name): count for name, count in verdicts.items()}
            result = ComparisonResult(is_of_all, counts, list(map(_finding, found)))
            return replace(job, comparison=result)
        case BulkMode.SETTLE:
            job = replace(job, settling=Settling(calls, at_stake))
        case BulkMode.REDELIVER:
            job = replace(job, options=options_of(options), foretold=Foretold(calls, suppressed, at_risk))
        case _:
            pass
    return replace(job, failures=list(map(tuple, found)))


def kind_named(name: str) -> KindName:
    return COMPARE if name == COMPARE else BulkMode(name)


def kept_options(options: RedeliveryOptions) -> dict[str, Any]:
    return {"how": options.how, "nonce": options.nonce, "include": sorted(options.include)}


def options_of(kept: Mapping[str, Any]) -> RedeliveryOptions:
    """From the column `options`."""
    return RedeliveryOptions(How(kept["how"]), kept["nonce"], frozenset(map(Include, kept["include"])))


def finding_as_json(found: ComparisonFinding) -> dict[str, object]:
    """For `domain.exact_json.dumps`."""
    ours, theirs = (
        side and {"status": side.status, "cashbackAmount": side.amount} for side in (found.ours, found.theirs)
    )
    return {
        "orderId": found.order_id,
        "class": found.verdict,
        "ours": ours,
        "theirs": theirs,
        "detail": found.detail,
    }


def _finding(kept: Mapping[str, Any]) -> ComparisonFinding:
    ours, theirs = (_side(kept[side]) for side in ("ours", "theirs"))
    return ComparisonFinding(kept["orderId"], Verdict(kept["class"]), ours, theirs, kept["detail"])


def _side(kept: Mapping[str, Any] | None) -> BookEntry | None:
    if kept is None:
        return None
    amount = kept["cashbackAmount"]
    return BookEntry(Status(kept["status"]), None if amount is None else Decimal(amount))
