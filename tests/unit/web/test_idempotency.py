"""The middleware of `Idempotency-Key` alone; tests/integration/test_api_idempotency.py has it with a database."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from adapters.records.idempotency import Claimed, KeptAnswer, KeyedRequest
from adapters.records.operators import Role
from adapters.web.idempotency import IdempotentWrites


class NobodyAsks:
    """What is not asked for has no key to keep."""

    async def begin(self, request: KeyedRequest) -> Claimed | KeptAnswer:
        raise AssertionError("a request was begun")

    async def keep(self, claimed: Claimed, answer: KeptAnswer) -> None: ...
    async def let_go(self, claimed: Claimed) -> None: ...


@pytest.mark.parametrize("come", [b"", b'{"reason": "a test", '])
def test_a_request_whose_body_was_cut_off_is_not_carried_out(come: bytes) -> None:
    """Without its end a dry run would be an action, and an edit would be none."""
    parts: list[Message] = [{"type": "http.request", "body": come, "more_body": True}] if come else []
    assert asyncio.run(status_of([*parts, {"type": "http.disconnect"}])) == 400


async def status_of(parts: Sequence[Message]) -> int:
    waiting, sent = list(parts), list[Message]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("it was carried out")

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/api/parked/5/retry",
        "raw_path": b"/api/parked/5/retry",
        "query_string": b"",
        "headers": [(b"idempotency-key", b"k"), (b"content-length", b"40")],
        "state": {"role": Role.OPERATOR, "asker": Role.OPERATOR.value},
    }
    await IdempotentWrites(app, NobodyAsks(), 1000)(scope, receive, send)
    return int(sent[0]["status"])
