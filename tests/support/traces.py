"""Messages with a trace context, for tests of tracing."""

from decimal import Decimal
from typing import Any, Final

from adapters.kafka.producer.order_publisher import encode
from adapters.records.publishing import Outgoing
from domain.messages import Kind

BUYER: Final = "buyer-4711"
TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
SAMPLED: Final = f"00-{TRACE}-b7ad6b7169203331-01"
SAMPLED_LATER: Final = f"00-{TRACE}-00f067aa0ba902b7-01"
UNSAMPLED: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b8-00"


def said(kind: Kind, order_id: int, transaction: str, second: int, trace: str | None) -> Outgoing:
    payload: dict[str, Any] = {
        "orderId": order_id,
        "transactionId": transaction,
        "transactionDate": f"2025-02-28T13:36:{second:02}.026732837Z",
        "storeNo": "54645",
        "buyerId": BUYER,
    }
    if kind is Kind.CREATED:
        item = {"externalProductId": "67867", "quantity": 1, "unit": "KG", "originalPrice": Decimal("156.10")}
        item |= {"discountedPrice": 150, "finalTotalPrice": Decimal("150.10"), "vatRate": 1}
        payload["orderItemsWithDiscountSummaryItems"] = [{"productItem": item}]
    key, value, headers = encode(kind, payload, sequence=None, source="/orders", traceparent=trace)
    return Outgoing("orders", key, value, headers)
