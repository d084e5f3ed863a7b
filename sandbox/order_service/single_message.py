"""One message of one order, as somebody who plays the order service by hand wants it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from adapters.kafka.cluster import check_reachable
from adapters.kafka.producer.order_publisher import OrderPublisher
from adapters.kafka.producer.publisher import Publisher
from adapters.records.publishing import Delivered
from adapters.settings import Settings
from domain.messages import Kind

TIMEOUT_SECONDS: Final = 10.0
DEFAULT_TO_PAY: Final = Decimal(306)
"""Of goods of 2 x 156: the cashback is 6 (contract.md, section 5)."""
_QUANTITY, _PRICE = 2, 156


@dataclass(frozen=True, slots=True)
class SingleMessage:
    """`to_pay` is what the buyer pays for the goods; `sequence` None: not stamped."""

    order_id: int
    kind: Kind
    sequence: int | None = None
    to_pay: Decimal = DEFAULT_TO_PAY

    def payload(self, now: datetime) -> dict[str, Any]:
        """Dated `now`; the transaction is always the same one of this order."""
        item = {
            "externalProductId": "67867",
            "quantity": _QUANTITY,
            "unit": "KG",
            "originalPrice": _PRICE,
            "discountedPrice": self.to_pay / _QUANTITY,
            "finalTotalPrice": self.to_pay,
            "vatRate": 1,
        }
        return {
            "orderId": self.order_id,
            "storeNo": "54645",
            "buyerId": "1234",
            "orderItemsWithDiscountSummaryItems": [{"productItem": item}],
            "transactionId": str(uuid5(NAMESPACE_URL, f"order:{self.order_id}")),
            "transactionDate": now.isoformat().replace("+00:00", "Z"),
        }


def publish_message(settings: Settings, message: SingleMessage) -> int:
    """Prints where it lies. Answers the exit code. Raises PublishError or KafkaUnreachable."""
    check_reachable(settings.kafka_bootstrap, settings.kafka_config)
    places: list[Delivered] = []
    with Publisher(
        settings.kafka_bootstrap, config=settings.kafka_config, delivery_timeout_seconds=TIMEOUT_SECONDS
    ) as publisher:
        OrderPublisher(publisher, settings.kafka_topics[0]).publish(
            message.kind,
            message.payload(datetime.now(UTC)),
            sequence=message.sequence,
            on_delivery=lambda said: places.append(said) if isinstance(said, Delivered) else None,
        )
        publisher.flush(TIMEOUT_SECONDS)
    for each in places:
        print(f"{message.kind} of order {message.order_id}: {each.topic}/{each.partition}@{each.offset}")  # noqa: T201
    return 0
