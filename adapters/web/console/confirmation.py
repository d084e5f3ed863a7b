"""What all actions have in common: each is shown first, wants a reason and a tick, and is written down.

What was shown is what is done: a form carries a digest of its plan, and if things have changed since, nothing is
done, and the new plan is shown.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request
from starlette.exceptions import HTTPException

from adapters.records.actions import ActionRequest
from adapters.records.operators import MAX_REASON_LENGTH, Operator, Role, Via
from domain.errors import CashbackError
from domain.exact_json import dumps

NOBODY: Final = "console"
"""The name of whoever needn't sign in."""
_NO_REASON: Final = f"Say why, in 1 to {MAX_REASON_LENGTH} characters."
NOT_CONFIRMED: Final = "Confirm that you have read what will be done."
_CHANGED: Final = (
    "Things have changed since you looked, and nothing was done. Look again: this is how it stands now."
)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What stands above the button: just what will happen, in sentences."""

    says: Sequence[str]
    seen: str
    """A digest of the plan."""
    reason: str = ""
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class FormInput:
    """What somebody has filled in; `fault` says why it isn't enough."""

    reason: str
    fault: str | None
    status: int = 200

    def refused(self, error: CashbackError) -> "FormInput":
        return FormInput(self.reason, f"Not done: {error}.", 409)


NO_INPUT: Final = FormInput("", None)


def form_input(form: dict[str, str], seen: str) -> FormInput:
    """`seen` is the digest of the plan as it is now."""
    reason = form.get("reason", "").strip()
    if not reason or len(reason) > MAX_REASON_LENGTH:
        return FormInput(reason[:MAX_REASON_LENGTH], _NO_REASON, 422)
    if form.get("confirmed") != "yes":
        return FormInput(reason, NOT_CONFIRMED, 422)
    if form.get("seen") != seen:
        return FormInput(reason, _CHANGED, 409)
    return FormInput(reason, None)


def digest(*plan: Any) -> str:
    return hashlib.sha256(dumps(plan)).hexdigest()[:16]


def form_of(request: Request) -> dict[str, str]:
    form: dict[str, str] = request.state.form
    return form


def operator_of(request: Request) -> Operator:
    session = request.state.session
    if not session.name:
        return Operator(NOBODY, Via.API, Role.ANYBODY)
    return Operator(session.name, Via.API, Role.PERSONAL if session.is_proved else Role.OPERATOR)


def action_request(request: Request, reason: str = "") -> ActionRequest:
    """A reader asks for dry runs only."""
    return ActionRequest(operator_of(request), reason)


def only_who_may_act(request: Request) -> None:
    """For pages that are of no use to a reader. Raises HTTPException."""
    if not request.state.session.may_act:
        raise HTTPException(403, "you are signed in to read, and may change nothing")
