"""What most commands begin with: the settings, and a database that can be used."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adapters.settings import Settings


def configured() -> "Settings":
    from adapters.observability.logs import configure_logs
    from adapters.settings import read_settings

    settings = read_settings()
    configure_logs(settings.log_level, settings.log_format)
    return settings


def usable_database_url(settings: "Settings") -> str:
    """Of a database that is there, and at this version of the schema."""
    from adapters.postgres.migrate import check_database

    url = settings.database_url.get_secret_value()
    check_database(url)
    return url
