"""What is said of an order that earns 7.50, by its status and its calls (tests/support/standings.py).

Each is a code with its tone, and a sentence."""

from typing import Final

from domain.lifecycle import Status

PLAIN: Final = {
    (Status.NOT_CREATED, "settled"): ("nothing_owed ok", "Nothing owed: no CREATED was accepted"),
    (Status.PENDING, "settled"): ("not_yet_owed wait", "Nothing owed yet: 7.50 TRY when the order completes"),
    (Status.PENDING, "behind"): ("not_yet_owed wait", "Nothing owed yet: 7.50 TRY when the order completes"),
    (Status.PENDING, "due"): ("not_yet_owed wait", "Nothing owed yet: 7.50 TRY when the order completes"),
    (Status.PENDING, "in flight"): ("not_yet_owed wait", "Nothing owed yet: 7.50 TRY when the order completes"),
    (Status.PENDING, "retrying"): ("not_yet_owed warn", "Nothing owed yet: 7.50 TRY when the order completes"),
    (Status.PENDING, "in doubt"): ("not_yet_owed warn", "Nothing owed yet: 7.50 TRY when the order completes"),
    (Status.PENDING, "refused"): ("not_yet_owed bad", "Nothing owed yet, but the third party refused the update"),
    (Status.PENDING, "spent"): ("not_yet_owed bad", "Nothing owed yet, but every attempt at the update failed"),
    (Status.PENDING, "unknown"): (
        "not_yet_owed bad",
        "Nothing owed yet, but nobody knows whether the third party took the update",
    ),
    (Status.PENDING, "held back"): ("not_yet_owed wait", "Nothing owed yet: 7.50 TRY when the order completes"),
    (Status.PENDING, "broken"): ("stopped bad", "Stopped, a safety check failed: 7.50 TRY pending"),
    (Status.COMPLETED, "settled"): ("paid ok", "Paid 7.50 TRY on 28 Feb 2025"),
    (Status.COMPLETED, "behind"): ("owed wait", "Owed 7.50 TRY, about to be sent"),
    (Status.COMPLETED, "due"): ("owed wait", "Owed 7.50 TRY, about to be sent"),
    (Status.COMPLETED, "in flight"): ("owed wait", "Owed 7.50 TRY, being sent now"),
    (Status.COMPLETED, "retrying"): ("owed warn", "Owed 7.50 TRY, not yet sent: 3 attempts have failed"),
    (Status.COMPLETED, "in doubt"): ("owed warn", "Owed 7.50 TRY, perhaps paid: the third party hasn't answered"),
    (Status.COMPLETED, "refused"): (
        "not_paid bad",
        "Owed 7.50 TRY, not paid: the third party refused the completion",
    ),
    (Status.COMPLETED, "spent"): (
        "not_paid bad",
        "Owed 7.50 TRY, not paid: every attempt at the completion failed",
    ),
    (Status.COMPLETED, "unknown"): (
        "not_paid bad",
        "Owed 7.50 TRY, perhaps paid: nobody knows whether the third party took the completion",
    ),
    (Status.COMPLETED, "held back"): ("owed wait", "Owed 7.50 TRY, about to be sent"),
    (Status.COMPLETED, "broken"): ("stopped bad", "Stopped, a safety check failed: 7.50 TRY owed but not paid"),
    (Status.CANCELLED, "settled"): ("nothing_owed ok", "Nothing owed: cancelled on 28 Feb 2025"),
    (Status.CANCELLED, "behind"): (
        "nothing_owed wait",
        "Nothing owed: cancelled on 28 Feb 2025, not yet confirmed by the third party",
    ),
    (Status.CANCELLED, "due"): (
        "nothing_owed wait",
        "Nothing owed: cancelled on 28 Feb 2025, not yet confirmed by the third party",
    ),
    (Status.CANCELLED, "in flight"): (
        "nothing_owed wait",
        "Nothing owed: cancelled on 28 Feb 2025, not yet confirmed by the third party",
    ),
    (Status.CANCELLED, "retrying"): (
        "nothing_owed warn",
        "Nothing owed: cancelled on 28 Feb 2025, not yet confirmed by the third party",
    ),
    (Status.CANCELLED, "in doubt"): (
        "nothing_owed warn",
        "Nothing owed: cancelled on 28 Feb 2025, not yet confirmed by the third party",
    ),
    (Status.CANCELLED, "refused"): (
        "nothing_owed bad",
        "Nothing owed: cancelled, but the third party refused the cancellation",
    ),
    (Status.CANCELLED, "spent"): (
        "nothing_owed bad",
        "Nothing owed: cancelled, but every attempt at the cancellation failed",
    ),
    (Status.CANCELLED, "unknown"): (
        "nothing_owed bad",
        "Nothing owed: cancelled, but nobody knows whether the third party took the cancellation",
    ),
    (Status.CANCELLED, "held back"): (
        "nothing_owed wait",
        "Nothing owed: cancelled on 28 Feb 2025, not yet confirmed by the third party",
    ),
    (Status.CANCELLED, "broken"): ("stopped bad", "Stopped, a safety check failed: cancelled"),
}
"""Of an order about which there is nothing else to say."""
IN_AN_OUTAGE: Final = {
    (Status.PENDING, "behind"): ("not_yet_owed warn", "Nothing owed yet: 7.50 TRY when the order completes"),
    (Status.PENDING, "due"): ("not_yet_owed warn", "Nothing owed yet: 7.50 TRY when the order completes"),
    (Status.PENDING, "in flight"): ("not_yet_owed warn", "Nothing owed yet: 7.50 TRY when the order completes"),
    (Status.PENDING, "held back"): ("not_yet_owed warn", "Nothing owed yet: 7.50 TRY when the order completes"),
    (Status.COMPLETED, "behind"): (
        "owed warn",
        "Owed 7.50 TRY, not yet sent: the third party has been down since 28 Feb 2025, 12:04 UTC",
    ),
    (Status.COMPLETED, "due"): (
        "owed warn",
        "Owed 7.50 TRY, not yet sent: the third party has been down since 28 Feb 2025, 12:04 UTC",
    ),
    (Status.COMPLETED, "in flight"): (
        "owed warn",
        "Owed 7.50 TRY, not yet sent: the third party has been down since 28 Feb 2025, 12:04 UTC",
    ),
    (Status.COMPLETED, "retrying"): (
        "owed warn",
        "Owed 7.50 TRY, not yet sent: the third party has been down since 28 Feb 2025, 12:04 UTC",
    ),
    (Status.COMPLETED, "held back"): (
        "owed warn",
        "Owed 7.50 TRY, not yet sent: the third party has been down since 28 Feb 2025, 12:04 UTC",
    ),
    (Status.CANCELLED, "behind"): (
        "nothing_owed warn",
        "Nothing owed: cancelled on 28 Feb 2025, not yet confirmed by the third party",
    ),
    (Status.CANCELLED, "due"): (
        "nothing_owed warn",
        "Nothing owed: cancelled on 28 Feb 2025, not yet confirmed by the third party",
    ),
    (Status.CANCELLED, "in flight"): (
        "nothing_owed warn",
        "Nothing owed: cancelled on 28 Feb 2025, not yet confirmed by the third party",
    ),
    (Status.CANCELLED, "held back"): (
        "nothing_owed warn",
        "Nothing owed: cancelled on 28 Feb 2025, not yet confirmed by the third party",
    ),
}
"""Where it makes a difference that the third party is down."""
IN_DOUBT: Final = {
    (Status.NOT_CREATED, "settled"): ("needs_decision bad", "Needs a decision: not created, 42.50 TRY may be owed"),
    (Status.PENDING, "settled"): (
        "needs_decision bad",
        "Needs a decision: 7.50 TRY pending, 50.00 TRY may be right",
    ),
    (Status.PENDING, "behind"): (
        "needs_decision bad",
        "Needs a decision: 7.50 TRY pending, 50.00 TRY may be right",
    ),
    (Status.PENDING, "due"): ("needs_decision bad", "Needs a decision: 7.50 TRY pending, 50.00 TRY may be right"),
    (Status.PENDING, "in flight"): (
        "needs_decision bad",
        "Needs a decision: 7.50 TRY pending, 50.00 TRY may be right",
    ),
    (Status.PENDING, "retrying"): (
        "needs_decision bad",
        "Needs a decision: 7.50 TRY pending, 50.00 TRY may be right",
    ),
    (Status.PENDING, "in doubt"): (
        "needs_decision bad",
        "Needs a decision: 7.50 TRY pending, 50.00 TRY may be right",
    ),
    (Status.PENDING, "refused"): (
        "needs_decision bad",
        "Needs a decision: 7.50 TRY pending, 50.00 TRY may be right",
    ),
    (Status.PENDING, "spent"): ("needs_decision bad", "Needs a decision: 7.50 TRY pending, 50.00 TRY may be right"),
    (Status.PENDING, "unknown"): (
        "needs_decision bad",
        "Needs a decision: 7.50 TRY pending, 50.00 TRY may be right",
    ),
    (Status.PENDING, "held back"): (
        "needs_decision bad",
        "Needs a decision: 7.50 TRY pending, 50.00 TRY may be right",
    ),
    (Status.PENDING, "broken"): ("stopped bad", "Stopped, a safety check failed: 7.50 TRY pending"),
    (Status.COMPLETED, "settled"): ("needs_decision bad", "Needs a decision: 7.50 TRY paid, 50.00 TRY may be owed"),
    (Status.COMPLETED, "behind"): (
        "needs_decision bad",
        "Needs a decision: 7.50 TRY owed but not paid, 50.00 TRY may be owed",
    ),
    (Status.COMPLETED, "due"): (
        "needs_decision bad",
        "Needs a decision: 7.50 TRY owed but not paid, 50.00 TRY may be owed",
    ),
    (Status.COMPLETED, "in flight"): (
        "needs_decision bad",
        "Needs a decision: 7.50 TRY owed but not paid, 50.00 TRY may be owed",
    ),
    (Status.COMPLETED, "retrying"): (
        "needs_decision bad",
        "Needs a decision: 7.50 TRY owed but not paid, 50.00 TRY may be owed",
    ),
    (Status.COMPLETED, "in doubt"): (
        "needs_decision bad",
        "Needs a decision: 7.50 TRY owed and perhaps paid, 50.00 TRY may be owed",
    ),
    (Status.COMPLETED, "refused"): (
        "needs_decision bad",
        "Needs a decision: 7.50 TRY owed but not paid, 50.00 TRY may be owed",
    ),
    (Status.COMPLETED, "spent"): (
        "needs_decision bad",
        "Needs a decision: 7.50 TRY owed but not paid, 50.00 TRY may be owed",
    ),
    (Status.COMPLETED, "unknown"): (
        "needs_decision bad",
        "Needs a decision: 7.50 TRY owed and perhaps paid, 50.00 TRY may be owed",
    ),
    (Status.COMPLETED, "held back"): (
        "needs_decision bad",
        "Needs a decision: 7.50 TRY owed but not paid, 50.00 TRY may be owed",
    ),
    (Status.COMPLETED, "broken"): ("stopped bad", "Stopped, a safety check failed: 7.50 TRY owed but not paid"),
    (Status.CANCELLED, "settled"): ("needs_decision bad", "Needs a decision: cancelled, 42.50 TRY may be owed"),
    (Status.CANCELLED, "behind"): ("needs_decision bad", "Needs a decision: cancelled, 42.50 TRY may be owed"),
    (Status.CANCELLED, "due"): ("needs_decision bad", "Needs a decision: cancelled, 42.50 TRY may be owed"),
    (Status.CANCELLED, "in flight"): ("needs_decision bad", "Needs a decision: cancelled, 42.50 TRY may be owed"),
    (Status.CANCELLED, "retrying"): ("needs_decision bad", "Needs a decision: cancelled, 42.50 TRY may be owed"),
    (Status.CANCELLED, "in doubt"): ("needs_decision bad", "Needs a decision: cancelled, 42.50 TRY may be owed"),
    (Status.CANCELLED, "refused"): ("needs_decision bad", "Needs a decision: cancelled, 42.50 TRY may be owed"),
    (Status.CANCELLED, "spent"): ("needs_decision bad", "Needs a decision: cancelled, 42.50 TRY may be owed"),
    (Status.CANCELLED, "unknown"): ("needs_decision bad", "Needs a decision: cancelled, 42.50 TRY may be owed"),
    (Status.CANCELLED, "held back"): ("needs_decision bad", "Needs a decision: cancelled, 42.50 TRY may be owed"),
    (Status.CANCELLED, "broken"): ("stopped bad", "Stopped, a safety check failed: cancelled"),
}
"""With a doubt open, and 42.50 at stake."""
