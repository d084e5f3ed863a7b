"""How a call to the third party is named in answers for people and programs."""

from typing import Any

from projections.ports import Call
from projections.third_party import path_of


def call_as_json(call: Call) -> dict[str, Any]:
    """For `domain.exact_json.dumps`; without the body."""
    method, path = path_of(call.kind, call.order_id)
    return {"version": call.version, "kind": call.kind, "method": method, "path": path, "key": call.key}
