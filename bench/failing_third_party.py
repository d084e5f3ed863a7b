"""The sandbox third party, which never takes a call of some orders: `python -m bench.failing_third_party`.

Every tenth order fails for good: some always get a 500 and are tried again, as many always a 422, after which their
calls are not tried any more.
"""

import asyncio
import json
import sys
from typing import Any

from sandbox.servers.free_port import LOOPBACK
from sandbox.third_party_server.app import serve
from sandbox.third_party_server.books import Books, Reply, refusal
from sandbox.third_party_server.call_log import ReceivedCall
from sandbox.third_party_server.requests import CashbackRequest


def always_fails(order_id: int) -> bool:
    """Spread evenly over the ids: who takes orders by their ids meets them one at a time."""
    return order_id % 10 == 7


def _gets_500(order_id: int) -> bool:
    return order_id // 100 % 2 == 1


class FailingBooks(Books):
    """Books that refuse the orders that are to fail."""

    def judge(self, call: ReceivedCall, request: CashbackRequest, **options: Any) -> Reply:
        if not always_fails(request.order_id):
            return super().judge(call, request, **options)
        if _gets_500(request.order_id):
            return refusal(500, "broken", "calls of this order always fail")
        return refusal(422, "rejected", "this order is never taken")


def _ready(port: int) -> None:
    line = {"event": "listening", "url": f"http://{LOOPBACK}:{port}"}
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    asyncio.run(serve(LOOPBACK, 0, ready=_ready, books=FailingBooks()))
