"""What schemathesis can't know of the API by its description."""

import re
from typing import Any, Final
from uuid import uuid4

import schemathesis

KEY: Final = "Idempotency-Key"
CONDITION: Final = "If-Match"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """The request as it goes out is changed, not the case: that it lacks a token, say, stays known."""
    kwargs["auth"] = _made_possible


def _made_possible(request: Any) -> Any:
    """A key is for one request, and schemathesis gives the same to many; what is no key stays as it is. An entity
    tag that was made up isn't the order's."""
    key = request.headers.get(KEY, "")
    if re.fullmatch("[!-~]{1,255}", key if isinstance(key, str) else key.decode("latin-1")):
        request.headers[KEY] = str(uuid4())
    if CONDITION in request.headers:
        request.headers[CONDITION] = "*"
    return request
