"""What people do about orders and about messages in quarantine, put together from the settings."""

from adapters.intervening import Interventions
from adapters.kafka.intake import Limits
from adapters.postgres.intervening import PostgresInterventions
from adapters.postgres.pool import Database
from adapters.postgres.queries import PostgresQueries
from adapters.postgres.store import OrderApplication
from adapters.quarantining import Quarantining
from adapters.settings import Settings
from domain.decision import Policy
from domain.instants import NANOSECONDS_PER_SECOND


def policy_of(settings: Settings) -> Policy:
    """By which messages are decided, wherever that is done."""
    return Policy(
        clock_tolerance_ns=round(settings.clock_tolerance_seconds * NANOSECONDS_PER_SECOND),
        max_order_cashback=settings.max_order_cashback,
        corrections=settings.third_party_corrections,
    )


def limits_of(settings: Settings) -> Limits:
    return Limits(settings.message_max_bytes, settings.order_max_events, settings.intake_cache_orders)


def interventions(settings: Settings, database: Database, store: OrderApplication) -> Interventions:
    """What the endpoints and the commands use."""
    return Interventions(PostgresInterventions(database), store, policy=policy_of(settings))


def quarantining(settings: Settings, queries: PostgresQueries, store: OrderApplication) -> Quarantining:
    """What the endpoints and the command use."""
    return Quarantining(queries, store, policy=policy_of(settings), limits=limits_of(settings), till=settings.till)
