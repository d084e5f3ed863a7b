"""Orders, messages and differences as wide as they come: the default topic, long ids, large amounts, talkative
errors. In a database of one's own."""

from typing import Final
from uuid import UUID

from domain.messages import Kind
from projections.delivery.ports import Answer, Call, Outcome
from tests.support.messages import TOPIC, product, record_of
from tests.support.running_api import RecordingThirdParty, deliver, sql, tell

FIRST: Final = 218_129_358_832_060
ORDERS: Final = range(FIRST, FIRST + 12)
REFUSED: Final = frozenset(ORDERS[:8])
HELD: Final = ORDERS[-1] + 1
BUYER: Final = "0d3fd1d0-7f3c-4b0e-9a54-5d64a3c6a0aa"
AMOUNT: Final = "1,234,567.89"
ANSWERS: Final = (
    '{"code":"account_closed","message":"the wallet of this buyer was closed on 28 February"}',
    '{"code":"limit_reached","limit":1000000.00,"requestedByOrder":218129358832060}',
)
QUARANTINED: Final = 218_129_358_832_000
"""The first id of the messages in quarantine, and their first offset."""
JOB: Final = UUID("0d3fd1d0-7f3c-4b0e-9a54-5d64a3c6a0ab")


def fill(database_url: str) -> None:
    """Some parked by two causes, one held, messages in quarantine by two, differences, actions, a job."""
    large = [product(1000, 2500, "1265432.11")]
    tell(
        database_url,
        *(
            record_of(Kind.CREATED, order_id=order_id, offset=place, at_ns=place, buyerId=BUYER, items=large)
            for place, order_id in enumerate(ORDERS)
        ),
        record_of(Kind.UPDATED, order_id=HELD, offset=100, at_ns=100, buyerId=BUYER, items=large),
    )
    deliver(database_url, RecordingThirdParty(_refuse))
    sql(
        database_url,
        "INSERT INTO quarantine (id, topic, topic_id, partition, kafka_offset, message_key, message_value, headers,"
        " order_id, reason, detail) OVERRIDING SYSTEM VALUE"
        " SELECT %s + n, %s, 'topic-1', 11, %s + n, '218129358832060', '{', '[]', %s,"
        " CASE WHEN n < 4 THEN 'invalid_json' ELSE 'unknown_type' END,"
        " 'payload.orderItemsWithDiscountSummaryItems.0.productItem.finalTotalPrice: must be a number'"
        " FROM generate_series(0, 7) AS n",
        *(QUARANTINED, TOPIC, QUARANTINED, FIRST),
    )
    sql(
        database_url,
        "INSERT INTO reconciliation (order_id, class, our_status, our_amount, their_status, their_amount, detail)"
        " SELECT %s + n, CASE WHEN n < 3 THEN 'amount' ELSE 'missing_there' END, 'COMPLETED', 1234567.89,"
        " 'COMPLETED', 1234560.89, 'no such order in their books since they were restored'"
        " FROM generate_series(0, 4) AS n",
        FIRST,
    )
    sql(
        database_url,
        "INSERT INTO operator_action (operator, role, via, action, reason, order_id, version, state_before,"
        " state_after) SELECT 'Ada Augusta King, Countess of Lovelace', 'operator token', 'api', 'retry',"
        " 'the third party says that the wallet was opened again', %s + n, 1, 'parked', 'due'"
        " FROM generate_series(0, 4) AS n",
        FIRST,
    )
    sql(
        database_url,
        "INSERT INTO job (id, kind, state, reason, operator, rate_per_second, orders, total, done, failed,"
        " started_at, ended_at, expires_at, cashback, selection) VALUES (%s, 'retry', 'done',"
        " 'the third party says that the wallets were opened again', 'Ada Augusta King, Countess of Lovelace', 50,"
        " %s, %s, 7, 1, now(), now(), now(), 9876543.12, '{\"parked\": 1}')",
        *(JOB, sorted(REFUSED), len(REFUSED)),
    )


def _refuse(call: Call) -> Answer | None:
    if call.order_id not in REFUSED:
        return None
    return Answer(Outcome.REFUSED, 422, ANSWERS[call.order_id % 3 == 0])
