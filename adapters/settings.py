"""The settings, from the environment or a `.env` file; every name starts with `CASHBACK_`."""

import json
import re
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from domain.errors import CashbackError

PREFIX: Final = "CASHBACK_"


class BadSetting(CashbackError):
    """A setting can't be used. The message names it, what it got and what it wants."""


_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")  # what Kafka takes


def _topics(value: str) -> str:
    names = [name.strip() for name in value.split(",")]
    if not all(_TOPIC.fullmatch(name) for name in names) or len(set(names)) != len(names):
        raise ValueError("must be one topic name, or several different ones separated by commas")
    return ",".join(names)


def _database_url(value: SecretStr) -> SecretStr:
    """What libpq says of a malformed URL would show the password, or the piece of it that it takes for a host."""
    url = value.get_secret_value()
    if not url.startswith(("postgresql://", "postgres://")):
        raise ValueError("must start with postgresql://")
    try:
        ports = str(conninfo_to_dict(url).get("port", "")).split(",")
    except psycopg.Error:
        ports = ["unreadable"]
    authority, _, path = url.partition("://")[2].partition("?")[0].partition("/")
    if authority.count("@") > 1 or "@" in path or not all(port.isdigit() or not port for port in ports):
        raise ValueError("must be a postgresql:// URL; special characters in its password must be percent-encoded")
    return value


def _http_url(value: str) -> str:
    if not value.startswith(("http://", "https://")) or not urlsplit(value).hostname:
        raise ValueError("must start with http:// or https:// and name a host")
    return value.rstrip("/")


def _token(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise ValueError("must be of visible ASCII characters, without spaces and line ends")
    return value


_Text = Annotated[str, Field(min_length=1)]
_Token = Annotated[SecretStr, AfterValidator(_token)]
_Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Settings(BaseSettings):
    """Every setting with its default; the description is what the README's table says."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    kafka_bootstrap: _Text = Field("localhost:9092", description="Kafka's addresses, `host:port`, comma-separated")
    kafka_topic: Annotated[str, AfterValidator(_topics)] = Field(
        "order-cashback-promotion", description="the topic, or several, comma-separated"
    )
    kafka_group: _Text = Field("order-cashback-integration", description="the consumer group")
    kafka_config: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="a JSON object of librdkafka properties: TLS, SASL and the rest"
    )
    database_url: Annotated[SecretStr, AfterValidator(_database_url)] = Field(
        SecretStr("postgresql://localhost:5432/cashback"), description="PostgreSQL, as a `postgresql://` URL"
    )
    third_party_url: Annotated[str, AfterValidator(_http_url)] = Field(
        "http://localhost:8090", description="base URL of the third party"
    )
    third_party_token: _Token | None = Field(None, description="bearer token for the third party")
    third_party_timeout_seconds: _Seconds = Field(10.0, description="how long one call may take")
    third_party_key_retention_hours: Annotated[float, Field(gt=0, le=8_760)] = Field(
        24.0, description="how long the third party remembers an `Idempotency-Key`"
    )
    push_concurrency: Annotated[int, Field(ge=1, le=4096)] = Field(
        64, description="calls under way at once, in one process; never two of one order"
    )
    push_max_attempts: Annotated[int, Field(ge=1, le=1000)] = Field(
        12, description="attempts at a call before its order is parked"
    )
    push_backoff_base_seconds: _Seconds = Field(
        0.5, description="the longest wait after the first failed attempt; it doubles with each"
    )
    push_backoff_max_seconds: _Seconds = Field(60.0, description="the longest wait between two attempts")
    push_lease_seconds: _Seconds | None = Field(
        None,
        description="how long a process may keep an order to itself: more than twice the call's time-out;"
        " 60, or three time-outs if that is more, unless given",
    )
    intake_batch_size: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1000, description="messages decided and stored in one transaction, at most"
    )
    intake_cache_orders: Annotated[int, Field(ge=0, le=10_000_000)] = Field(
        20_000, description="orders kept in memory, so that they needn't be loaded again"
    )
    message_max_bytes: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = Field(
        1024 * 1024, description="a larger message goes to quarantine"
    )
    order_max_events: Annotated[int, Field(ge=10, le=1_000_000)] = Field(
        1000, description="further messages of an order with so many decisions go to quarantine"
    )
    clock_tolerance_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        60.0, description="the clocks of two publishers differ by less than this"
    )
    api_host: _Text = Field("127.0.0.1", description="where the API listens")
    api_port: Annotated[int, Field(ge=0, le=65_535)] = Field(8080, description="its port; 0 takes a free one")
    api_token: _Token | None = Field(None, description="bearer token that the API asks for")
    probes_port: Annotated[int, Field(ge=0, le=65_535)] | None = Field(
        None,
        description="port of the probes and metrics in a process without the role `api`; none unless given",
    )
    shutdown_timeout_seconds: _Seconds = Field(20.0, description="how long a stopping process may finish its work")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="the least that is logged")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto`: for people on a terminal, JSON elsewhere"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.push_lease_seconds is not None and self.push_lease_seconds <= 2 * self.third_party_timeout_seconds:
            raise ValueError(
                f"{PREFIX}PUSH_LEASE_SECONDS is {self.push_lease_seconds:g}: must be more than twice"
                f" {PREFIX}THIRD_PARTY_TIMEOUT_SECONDS, {self.third_party_timeout_seconds:g}"
            )
        return self

    @property
    def lease_seconds(self) -> float:
        return self.push_lease_seconds or max(60.0, 3 * self.third_party_timeout_seconds)

    @property
    def kafka_topics(self) -> tuple[str, ...]:
        return tuple(self.kafka_topic.split(","))


_SECRET: Final = {"database_url", "third_party_token", "api_token", "kafka_config"}
_KAFKA_CONFIG: Final = "must be a JSON object of texts, numbers, true and false"


def read_settings(env_file: str | None = ".env") -> Settings:
    """The settings. Raises BadSetting for the first that can't be used."""
    try:
        return Settings(_env_file=env_file)
    except (OSError, UnicodeError) as error:
        raise BadSetting(f"the file {env_file} can't be read: {type(error).__name__}") from None
    except ValidationError as error:
        raise BadSetting(_first_fault(error)) from None  # the cause would show secrets
    except SettingsError as error:
        name = next((field for field in Settings.model_fields if f'"{field}"' in str(error)), "")
        raise BadSetting(f"{PREFIX}{name.upper()}: {_KAFKA_CONFIG}") from None


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    message = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        return message
    field = str(fault["loc"][0])
    if field == "kafka_config":
        message = _KAFKA_CONFIG
    got = "" if field in _SECRET else f" is {json.dumps(fault['input'], default=str)}"
    return f"{PREFIX}{field.upper()}{got}: {message[0].lower()}{message[1:]}"
