"""Replays put together from the settings."""

from functools import partial

from adapters.bulk import BulkMode
from adapters.bulk_mending import redelivering, releasing, retrying, settling
from adapters.bulk_republishing import republishing
from adapters.bulk_running import BulkRunner
from adapters.kafka.republisher import KafkaRepublisher
from adapters.mending import interventions
from adapters.postgres.bulk import PostgresBulk
from adapters.postgres.bulk_work import PostgresBulkWork
from adapters.postgres.parking import PostgresParking
from adapters.postgres.pool import Database
from adapters.postgres.replays import PostgresReplays
from adapters.postgres.store import OrderApplication
from adapters.replay import ReplayService
from adapters.settings import Settings


def replay_service(settings: Settings, database: Database) -> ReplayService:
    """What the endpoint and the command use."""
    return ReplayService(
        PostgresReplays(database),
        KafkaRepublisher(settings.kafka_bootstrap, settings.kafka_config),
        topics=settings.kafka_topics,
        key_retention_hours=settings.third_party_key_retention_hours,
    )


def bulk_runner(settings: Settings, database: Database) -> BulkRunner:
    """With every mode that there is."""
    republisher = KafkaRepublisher(settings.kafka_bootstrap, settings.kafka_config)
    replays = PostgresReplays(database)
    store = partial(OrderApplication, settings.database_url.get_secret_value(), pool_size=1)
    decisions = partial(interventions, settings, database)
    modes = {
        BulkMode.REPUBLISH: republishing(replays, republisher, settings.kafka_topics),
        BulkMode.REDELIVER: redelivering(replays, settings.third_party_key_retention_hours),
        BulkMode.RETRY: retrying(PostgresParking(database)),
        BulkMode.SETTLE: settling(store, decisions),
        BulkMode.RELEASE: releasing(store, decisions),
    }
    return BulkRunner(PostgresBulkWork(database), modes)


def bulk_replays(settings: Settings, database: Database) -> PostgresBulk:
    """What the endpoints and the commands use."""
    return PostgresBulk(database, key_retention_hours=settings.third_party_key_retention_hours)
