"""Replays put together from the settings, and the `replay` command: what the endpoint does."""

import asyncio
import sys

from adapters.bulk import BulkMode
from adapters.bulk_mending import redelivering, retrying
from adapters.bulk_republishing import republishing
from adapters.bulk_running import BulkRunner
from adapters.kafka.republisher import KafkaRepublisher
from adapters.operators import Asked, command_line_operator
from adapters.postgres.bulk import PostgresBulk
from adapters.postgres.bulk_work import PostgresBulkWork
from adapters.postgres.parking import PostgresParking
from adapters.postgres.pool import Database
from adapters.postgres.replays import PostgresReplays
from adapters.replay import ReplayReport, ReplayService
from adapters.settings import BadSetting, Settings
from domain.exact_json import dumps
from projections.redelivery import DEFAULT_WISH, Wish
from projections.replay import Mode


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
    modes = {
        BulkMode.REPUBLISH: republishing(replays, republisher, settings.kafka_topics),
        BulkMode.REDELIVER: redelivering(replays, settings.third_party_key_retention_hours),
        BulkMode.RETRY: retrying(PostgresParking(database)),
    }
    return BulkRunner(PostgresBulkWork(database), modes)


def bulk_replays(settings: Settings, database: Database) -> PostgresBulk:
    """What the endpoints and the commands use."""
    return PostgresBulk(database, key_retention_hours=settings.third_party_key_retention_hours)


def run_replay(  # noqa: PLR0913 - each is an option of the command
    settings: Settings, order_id: int, mode: str, *, dry_run: bool, reason: str, wish: Wish = DEFAULT_WISH
) -> int:
    """Prints the report as JSON. Answers the exit code."""
    if mode != Mode.REDELIVER and wish != DEFAULT_WISH:
        raise BadSetting("--how, --nonce and --include are for --mode redeliver")
    asked = Asked(command_line_operator(), reason)

    async def run() -> ReplayReport:
        async with Database(settings.database_url.get_secret_value()) as database:
            return await replay_service(settings, database).replay(
                order_id, Mode(mode), asked=asked, dry_run=dry_run, wish=wish
            )

    report = asyncio.run(run()).as_json()
    sys.stdout.buffer.write(dumps(report) + b"\n")
    return 0
