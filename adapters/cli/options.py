"""Options that several commands have."""

from enum import StrEnum
from typing import Annotated, Final

import typer

from domain.errors import BadSetting
from domain.identifiers import MAX_ORDER_ID
from projections.redelivery import MAX_NONCE_LENGTH, How, Include, RedeliveryOptions, is_nonce

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 10_000

RUN: Final = "Run the service"
LOOK: Final = "Look"
REPAIR: Final = "Repair"
MANY: Final = "Repair many orders"
PLAY: Final = "Play the rest of the world"

OrderId = Annotated[int, typer.Argument(min=1, max=MAX_ORDER_ID, metavar="ORDER_ID", help="The order's id.")]
OrderIds = Annotated[
    list[int] | None, typer.Argument(min=1, max=MAX_ORDER_ID, metavar="ORDER_ID", help="Only these orders.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document, named as in the API's answers.")]
Limit = Annotated[int, typer.Option(min=1, max=MAX_LIMIT, help="So many at most.")]
After = Annotated[
    str | None, typer.Option(metavar="NEXT", help="Go on behind a page: what it says of more (in the JSON `next`).")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
Reason = Annotated[str, typer.Option(help="Why; kept.")]
ReasonNeeded = Annotated[str, typer.Option(help="Why; kept. Needed unless it's a dry run.")]
HowOption = Annotated[How, typer.Option(help="Redeliver only what is missing, or all.")]
NonceOption = Annotated[
    str | None, typer.Option(help="Redeliver under new keys, made from the old ones and this. May pay twice.")
]
IncludeOption = Annotated[
    list[Include] | None, typer.Option(help="Redeliver also what is left out for safety; may be given twice.")
]


class DifferenceClassOption(StrEnum):
    """How the third party and we differ."""

    MISSING_THERE = "missing_there"
    MISSING_HERE = "missing_here"
    AMOUNT = "amount"
    STATE = "state"
    IN_FLIGHT = "in_flight"
    UNKNOWN = "unknown"


NO_REASON: Final = "from the command line"


def redelivery(how: How, nonce: str | None, include: list[Include] | None) -> RedeliveryOptions:
    """Raises BadSetting."""
    if nonce is not None and not is_nonce(nonce):
        raise BadSetting(
            f"--nonce is {nonce[:MAX_NONCE_LENGTH]!r}: must be 1 to {MAX_NONCE_LENGTH} visible characters"
        )
    return RedeliveryOptions(how, nonce, frozenset(include or ()))
