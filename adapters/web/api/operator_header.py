"""Who asks: as callers say it themselves, and what their token proves."""

from contextlib import suppress
from typing import Annotated, Final

from fastapi import Depends, Header, Request
from pydantic import WithJsonSchema
from starlette.exceptions import HTTPException

from adapters.records.actions import ActionRequest, Precondition
from adapters.records.operators import MAX_NAME_LENGTH, Operator, Role, Via
from adapters.web.auth import READERS_MAY, TOO_LITTLE

_LIKE_NAME: Final = rf"^[!-~]([ -~]{{0,{MAX_NAME_LENGTH - 2}}}[!-~])?$"


def _operator(
    request: Request,
    x_operator: Annotated[
        Annotated[str | None, WithJsonSchema({"type": "string", "pattern": _LIKE_NAME})],
        Header(
            description=f"who asks, for the record: {MAX_NAME_LENGTH} printable characters at most, UTF-8;"
            " not needed with a token of one's own"
        ),
    ] = None,
) -> Operator:
    role, request_id = request.state.role, getattr(request.state, "request_id", None)
    proved_name: str | None = request.state.proved_name
    if x_operator is None:
        return Operator(proved_name or Via.API.value, Via.API, role, request_id)
    name = x_operator.strip()
    with suppress(UnicodeError):  # else it was Latin-1
        name = name.encode("latin-1").decode()
    if not (0 < len(name) <= MAX_NAME_LENGTH and name.isprintable()):
        raise HTTPException(400, f"X-Operator: 1 to {MAX_NAME_LENGTH} printable characters")
    if proved_name is not None and name != proved_name:
        raise HTTPException(403, "the token is somebody's own: X-Operator can't say another name")
    return Operator(name, Via.API, role, request_id)


RequestedBy = Annotated[Operator, Depends(_operator)]
"""The role by the token, a proof, and so the name if the token is somebody's own; else the name by the header
`X-Operator`, a claim."""


def action_request(
    by: Operator, reason: str | None, seen: Precondition | None = None, *, dry_run: bool
) -> ActionRequest:
    """Raises a 403 for readers, unless it is a dry run."""
    if by.role is Role.READER and not dry_run:
        raise HTTPException(403, READERS_MAY, TOO_LITTLE)
    return ActionRequest(by, (reason or "").strip(), seen)
