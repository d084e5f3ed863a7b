"""Replays put together from the settings."""

from datetime import timedelta
from functools import partial

from adapters.kafka.consumer.intake import Limits
from adapters.kafka.producer.republisher import KafkaRepublisher
from adapters.operations.interventions import InterventionService
from adapters.operations.jobs.kinds import (
    discarding,
    reading_again,
    redelivering,
    releasing,
    republishing,
    retrying,
    settling,
)
from adapters.operations.jobs.runner import JobKind, JobRunner
from adapters.operations.quarantine import QuarantineService
from adapters.operations.replay import ReplayService
from adapters.postgres.event_store import OrderApplication
from adapters.postgres.interventions import PostgresInterventions
from adapters.postgres.job_work import PostgresJobWork
from adapters.postgres.jobs import PostgresJobs
from adapters.postgres.parking import PostgresParking
from adapters.postgres.pool import Database
from adapters.postgres.queries import PostgresQueries
from adapters.postgres.replays import PostgresReplays
from adapters.records.jobs import BulkMode, KindName
from adapters.records.personal_tokens import PersonalToken, read_personal_tokens
from adapters.settings import Settings
from domain.decision import Policy
from domain.instants import NANOSECONDS_PER_SECOND


def personal_tokens(settings: Settings) -> tuple[PersonalToken, ...]:
    """Raises BadSetting for a file that can't be used."""
    return read_personal_tokens(settings.api_tokens_file) if settings.api_tokens_file else ()


def replay_service(settings: Settings, database: Database) -> ReplayService:
    """What the endpoint and the command use."""
    return ReplayService(
        PostgresReplays(database),
        KafkaRepublisher(settings.kafka_bootstrap, settings.kafka_config),
        topics=settings.kafka_topics,
        key_retention=timedelta(seconds=settings.trusted_key_seconds),
    )


def bulk_runner(settings: Settings, database: Database) -> JobRunner:
    """With every mode that there is."""
    republisher = KafkaRepublisher(settings.kafka_bootstrap, settings.kafka_config)
    replays = PostgresReplays(database)
    store = partial(OrderApplication, settings.database_url.get_secret_value(), pool_size=1)
    decisions = partial(interventions, settings, database)
    messages = partial(quarantining, settings, PostgresQueries(database))
    kinds: dict[KindName, JobKind] = {
        BulkMode.REPUBLISH: republishing(replays, republisher, settings.kafka_topics),
        BulkMode.REDELIVER: redelivering(replays, timedelta(seconds=settings.trusted_key_seconds)),
        BulkMode.RETRY: retrying(PostgresParking(database)),
        BulkMode.SETTLE: settling(store, decisions),
        BulkMode.RELEASE: releasing(store, decisions),
        BulkMode.QUARANTINE_RETRY: reading_again(store, messages),
        BulkMode.QUARANTINE_DISCARD: discarding(store, messages),
    }
    return JobRunner(PostgresJobWork(database), kinds)


def jobs_of(settings: Settings, database: Database) -> PostgresJobs:
    """What the endpoints and the commands use."""
    return PostgresJobs(database, key_retention=timedelta(seconds=settings.trusted_key_seconds))


def policy_of(settings: Settings) -> Policy:
    """By which messages are decided, wherever that is done."""
    return Policy(
        clock_tolerance_ns=round(settings.clock_tolerance_seconds * NANOSECONDS_PER_SECOND),
        max_order_cashback=settings.max_order_cashback,
        corrections=settings.third_party_corrections,
    )


def limits_of(settings: Settings) -> Limits:
    return Limits(settings.message_max_bytes, settings.order_max_events, settings.intake_cache_orders)


def interventions(settings: Settings, database: Database, store: OrderApplication) -> InterventionService:
    """What the endpoints and the commands use."""
    return InterventionService(PostgresInterventions(database), store, policy=policy_of(settings))


def quarantining(settings: Settings, queries: PostgresQueries, store: OrderApplication) -> QuarantineService:
    """What the endpoints and the command use."""
    return QuarantineService(
        queries, store, policy=policy_of(settings), limits=limits_of(settings), till=settings.till
    )
