"""The `replay` command: what the endpoint does, from the command line."""

import asyncio
import sys

from adapters.kafka.republisher import KafkaRepublisher
from adapters.postgres.pool import Database
from adapters.postgres.replays import PostgresReplays
from adapters.replay import ReplayReport, ReplayService
from adapters.settings import Settings
from domain.exact_json import dumps
from projections.replay import Mode


def replay_service(settings: Settings, database: Database) -> ReplayService:
    """What the endpoint and the command use."""
    return ReplayService(
        PostgresReplays(database),
        KafkaRepublisher(settings.kafka_bootstrap, settings.kafka_config),
        topics=settings.kafka_topics,
        key_retention_hours=settings.third_party_key_retention_hours,
    )


def run_replay(settings: Settings, order_id: int, mode: str, *, dry_run: bool, reason: str) -> int:
    """Prints the report as JSON. Answers the exit code."""

    async def run() -> ReplayReport:
        async with Database(settings.database_url.get_secret_value()) as database:
            return await replay_service(settings, database).replay(
                order_id, Mode(mode), dry_run=dry_run, reason=reason
            )

    report = asyncio.run(run()).as_json()
    sys.stdout.buffer.write(dumps(report) + b"\n")
    return 0
