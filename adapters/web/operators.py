"""Who asks, as callers say it themselves."""

from contextlib import suppress
from typing import Annotated

from fastapi import Depends, Header
from starlette.exceptions import HTTPException

from adapters.operators import MAX_NAME_LENGTH, Operator, Via


def _operator(
    x_operator: Annotated[
        str | None, Header(description=f"who asks, for the record: at most {MAX_NAME_LENGTH} characters")
    ] = None,
) -> Operator:
    if x_operator is None:
        return Operator(Via.API.value, Via.API)
    name = x_operator.strip()
    with suppress(UnicodeError):  # else it was Latin-1
        name = name.encode("latin-1").decode()
    if not (0 < len(name) <= MAX_NAME_LENGTH and name.isprintable()):
        raise HTTPException(400, f"X-Operator: 1 to {MAX_NAME_LENGTH} printable characters")
    return Operator(name, Via.API)


AskedBy = Annotated[Operator, Depends(_operator)]
"""The header `X-Operator`; a claim, not a proof."""
