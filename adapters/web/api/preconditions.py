"""Requests that depend on what the caller has seen of an order (RFC 9110, section 13)."""

import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request

from adapters.presentation.order_view import order_view
from adapters.presentation.schemas import OrderView
from adapters.records.actions import Precondition
from adapters.records.orders import OrderRecord
from domain.exact_json import dumps
from domain.money import DEFAULT_TILL, Till

ETAG: Final[dict[str, Any]] = {"ETag": {"description": "of what is shown", "schema": {"type": "string"}}}

_ANY: Final = "*"
_TAG: Final = re.compile('(?:W/)?"[^"]*"')


def tagged_order(record: OrderRecord, till: Till) -> tuple[bytes, str]:
    """The body that shows the order, and its entity tag: two digests, so it changes with anything that is shown.
    The first is of the order alone; the second also of the verdict too, which outages and comparisons change."""
    view = order_view(record, till)
    body = dumps(view)
    return body, f'"{_order_digest(view)}-{_digest(body)}"'


def _order_digest(view: OrderView) -> str:
    return _digest(dumps({name: value for name, value in view.items() if name != "verdict"}))


def _digest(body: bytes) -> str:
    return blake2b(body, digest_size=16).hexdigest()


def _is_known(
    request: Request,
    if_none_match: Annotated[  # noqa: ARG001 - for the description; there may be several lines of it
        str | None, Header(description="an `ETag` of before: if nothing has changed, a 304 without a body")
    ] = None,
) -> Callable[[str], bool]:
    tags = {each.removeprefix("W/") for each in _tags(request, "if-none-match") or ()}
    return lambda tag: _ANY in tags or tag in tags


def _precondition(
    request: Request,
    if_match: Annotated[  # noqa: ARG001 - for the description
        str | None,
        Header(
            description="the order's `ETag`: if anything but its verdict has changed, a 412, and nothing is done"
        ),
    ] = None,
) -> Precondition | None:
    tags = _tags(request, "if-match")
    if tags is None or _ANY in tags:  # an order that isn't there is a 404 anyway
        return None
    seen = {tag.removeprefix('"').partition("-")[0] for tag in tags}
    return lambda record: _order_digest(order_view(record, DEFAULT_TILL)) in seen


def _tags(request: Request, name: str) -> Sequence[str] | None:
    """None without the header. What is no entity tag can't be the order's."""
    lines = request.headers.getlist(name)
    if not lines:
        return None
    return [_ANY] if lines == [_ANY] else [tag for line in lines for tag in _TAG.findall(line)]


IsKnown = Annotated[Callable[[str], bool], Depends(_is_known)]
"""By `If-None-Match`: whether the caller has what bears this tag."""
IfMatch = Annotated[Precondition | None, Depends(_precondition)]
"""By `If-Match`; looked at in the transaction of the action."""
