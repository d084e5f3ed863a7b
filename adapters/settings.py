"""The settings, from the environment or a `.env` file; every name starts with `CASHBACK_`."""

import base64
import binascii
import ipaddress
import json
import re
from decimal import Decimal
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from domain.errors import BadSetting
from domain.money import DEFAULT_TILL, Rounding, Till
from projections.delivery.doubt import KEY_MARGIN_TIMEOUTS, trusted_key_seconds

PREFIX: Final = "CASHBACK_"
MIN_TOKEN_LENGTH: Final = 16
"""Of a token that others give to us. Of random letters and digits that is more than anybody can try."""


_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")  # what Kafka takes


def _topics(value: str) -> str:
    names = [name.strip() for name in value.split(",")]
    if not all(_TOPIC.fullmatch(name) for name in names) or len(set(names)) != len(names):
        raise ValueError("must be one topic name, or several different ones separated by commas")
    return ",".join(names)


def _currency(value: str) -> str:
    """Raises UnknownCurrency, which is a ValueError."""
    return Till(value).currency


def _dead_letter_topic(value: str) -> str:
    if not _TOPIC.fullmatch(value):
        raise ValueError("must be one topic name")
    return value


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
    if "@" in urlsplit(value).netloc:
        raise ValueError("must hold no user and password")
    return value.rstrip("/")


def _token(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise ValueError("must be of visible ASCII characters, without spaces and line ends")
    return value


def _hard_to_guess(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < MIN_TOKEN_LENGTH:
        raise ValueError(f"must have {MIN_TOKEN_LENGTH} characters at least")
    return value


def _networks(value: str) -> str:
    """Addresses become networks of one."""
    try:
        return ",".join(str(ipaddress.ip_network(each.strip())) for each in value.split(","))
    except ValueError:
        raise ValueError("must be addresses or networks like 10.0.0.0/8, separated by commas") from None


def _signing_secrets(value: SecretStr) -> SecretStr:
    signing_keys(value)
    return value


def signing_keys(secrets: SecretStr) -> tuple[bytes, ...]:
    """The keys in one or several Standard Webhooks secrets. Raises ValueError, which shows nothing of them."""
    keys = []
    for text in re.split(r"[\s,]+", secrets.get_secret_value().strip(" \t\r\n,")):
        try:
            keys.append(base64.b64decode(text.removeprefix("whsec_"), validate=True))
        except (binascii.Error, ValueError):
            keys.append(b"")
        if not text.startswith("whsec_") or not 24 <= len(keys[-1]) <= 64:  # noqa: PLR2004 - as the standard has it
            raise ValueError(
                "must be `whsec_` and 24 to 64 bytes in base64, or several, separated by spaces or commas"
            )
    return tuple(keys)


_Text = Annotated[str, Field(min_length=1)]
_Token = Annotated[SecretStr, AfterValidator(_token)]
_ApiToken = Annotated[_Token, AfterValidator(_hard_to_guess)]
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
    kafka_dead_letter_topic: Annotated[str, AfterValidator(_dead_letter_topic)] | None = Field(
        None,
        description="a topic to which quarantined messages are copied, see [docs/dead-letters.md]"
        "(docs/dead-letters.md); none unless given",
    )
    database_url: Annotated[SecretStr, AfterValidator(_database_url)] = Field(
        SecretStr("postgresql://localhost:5432/cashback"), description="PostgreSQL, as a `postgresql://` URL"
    )
    third_party_url: Annotated[str, AfterValidator(_http_url)] = Field(
        "http://localhost:8090", description="base URL of the third party"
    )
    third_party_token: _Token | None = Field(None, description="bearer token for the third party")
    third_party_signing_secret: Annotated[SecretStr, AfterValidator(_signing_secrets)] | None = Field(
        None,
        description="signs each call, see [docs/third-party.md](docs/third-party.md): `whsec_…`, several while it"
        " is being changed",
    )
    third_party_ca_file: _Text | None = Field(
        None, description="the only authorities that the third party's certificate may come from; PEM"
    )
    third_party_client_certificate_file: _Text | None = Field(
        None, description="a certificate that we show to the third party; PEM"
    )
    third_party_client_key_file: _Text | None = Field(
        None, description="its key, unless that is in the same file; PEM, not encrypted"
    )
    third_party_timeout_seconds: _Seconds = Field(10.0, description="how long one call may take")
    third_party_key_retention_hours: Annotated[float, Field(ge=0, le=8_760)] = Field(
        24.0,
        description="how long the third party remembers an `Idempotency-Key`: more than ten of the call's"
        " time-outs, as it is trusted for less, see [docs/explanation/once.md](docs/explanation/once.md);"
        " 0: none is trusted",
    )
    doubtful_orders: Literal["hold", "pay"] = Field(
        "hold",
        description="`hold`: a doubtful order is not completed with the third party until a person has settled the"
        " doubt, see [docs/runbooks/doubtful.md](docs/runbooks/doubtful.md); `pay`: it is",
    )
    third_party_lookups: bool = Field(
        default=True,
        description="whether the third party can be asked how an order stands; if not, a call that may have been"
        " carried out, and whose key may be forgotten, is left to a person",
    )
    third_party_date_digits: Annotated[int, Field(ge=0, le=9)] = Field(
        9,
        description="fractional digits of a second that the third party keeps of a date, cut off or rounded: what"
        " it says of an order is compared as finely",
    )
    third_party_corrections: bool = Field(
        default=False,
        description="whether the third party takes `correct` calls, see [docs/third-party.md](docs/third-party.md):"
        " what comes after an order was completed is then carried out; if not, it is refused and left to a person",
    )
    currency: Annotated[str, AfterValidator(_currency)] = Field(
        DEFAULT_TILL.currency, description="ISO 4217; gives the number of decimals of the minor unit"
    )
    rounding: Literal["half_up", "half_even", "down"] = Field(
        "half_up", description="how the shop's tills round a price: `half_up`, `half_even` or `down`"
    )
    max_order_cashback: Annotated[Decimal, Field(gt=0)] | None = Field(
        None, description="an order that would earn more is doubtful; no limit unless given"
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
    push_retry_after_max_seconds: _Seconds = Field(
        3600.0, description="a longer `Retry-After` of the third party is taken for this"
    )
    push_calls_per_second: Annotated[float, Field(gt=0, le=100_000)] | None = Field(
        None,
        description="calls that one process sends in a second, at most; fewer while the third party answers 429;"
        " no limit unless given",
    )
    push_lease_seconds: _Seconds | None = Field(
        None,
        description="how long a process may keep an order to itself: more than twice the call's time-out;"
        " 60, or three time-outs if that is more, unless given",
    )
    audit_orders_per_second: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        None,
        description="orders that the role `push` compares with the third party's books, round and round, see"
        " [docs/runbooks/reconcile.md](docs/runbooks/reconcile.md); none unless given",
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
    pending_alert_days: Annotated[int, Field(ge=1, le=36_500)] = Field(
        14, description="an order that has been open for longer is listed, counted and alerted"
    )
    clock_tolerance_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        60.0, description="the clocks of two publishers differ by less than this"
    )
    api_host: _Text = Field("127.0.0.1", description="where the API listens")
    api_port: Annotated[int, Field(ge=0, le=65_535)] = Field(8080, description="its port; 0 takes a free one")
    api_token: _ApiToken | None = Field(
        None,
        description="bearer token that API and console ask for, 16 characters at least; without one they listen to"
        " this machine only",
    )
    api_read_token: _ApiToken | None = Field(
        None, description="another one, for those who may read everything and change nothing"
    )
    api_tokens_file: _Text | None = Field(
        None,
        description="a file with the digests of tokens that belong to one person each, see"
        " [docs/runbooks/tokens.md](docs/runbooks/tokens.md); needs the token above",
    )
    trusted_proxies: Annotated[str, AfterValidator(_networks)] | None = Field(
        None,
        description="addresses or networks, comma-separated, of proxies whose `X-Forwarded-For` and"
        " `X-Forwarded-Proto` are believed; none unless given",
    )
    probes_port: Annotated[int, Field(ge=0, le=65_535)] | None = Field(
        None,
        description="port of the probes and metrics in a process without the role `api`; none unless given",
    )
    stalled_after_seconds: Annotated[float, Field(ge=10, le=3600)] = Field(
        30.0,
        description="a part of a process that has got nothing done for so long makes `/readyz` answer 503, see"
        " [docs/signals.md](docs/signals.md)",
    )
    shutdown_timeout_seconds: _Seconds = Field(20.0, description="how long a stopping process may finish its work")
    otel_endpoint: Annotated[str, AfterValidator(_http_url)] | None = Field(
        None,
        description="base URL of an OpenTelemetry collector (OTLP, http/protobuf) for traces, see"
        " [docs/signals.md](docs/signals.md); none unless given",
    )
    build: _Text = Field("unknown", description="which build this is, a commit say, for metrics and traces")
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
        retention_hours = self.third_party_key_retention_hours
        if retention_hours and not self.trusted_key_seconds:
            raise ValueError(
                f"{PREFIX}THIRD_PARTY_KEY_RETENTION_HOURS is {retention_hours:g}: must be 0, or more than"
                f" {KEY_MARGIN_TIMEOUTS} times {PREFIX}THIRD_PARTY_TIMEOUT_SECONDS,"
                f" {self.third_party_timeout_seconds:g}"
            )
        if self.audit_orders_per_second is not None and not self.third_party_lookups:
            raise ValueError(
                f"{PREFIX}AUDIT_ORDERS_PER_SECOND is {self.audit_orders_per_second:g}:"
                f" needs {PREFIX}THIRD_PARTY_LOOKUPS"
            )
        if self.third_party_client_key_file is not None and self.third_party_client_certificate_file is None:
            raise ValueError(
                f"{PREFIX}THIRD_PARTY_CLIENT_KEY_FILE is {json.dumps(self.third_party_client_key_file)}:"
                f" needs {PREFIX}THIRD_PARTY_CLIENT_CERTIFICATE_FILE"
            )
        for name in ("third_party_ca_file", "third_party_client_certificate_file"):
            path = getattr(self, name)
            if path is not None and not self.third_party_url.startswith("https://"):
                raise ValueError(
                    f"{PREFIX}{name.upper()} is {json.dumps(path)}: needs a {PREFIX}THIRD_PARTY_URL with https://"
                )
        if self.api_read_token is not None and self.api_token in {None, self.api_read_token}:
            raise ValueError(f"{PREFIX}API_READ_TOKEN needs a {PREFIX}API_TOKEN that is another one")
        if self.api_tokens_file is not None and self.api_token is None:
            raise ValueError(
                f"{PREFIX}API_TOKENS_FILE is {json.dumps(self.api_tokens_file)}: needs a {PREFIX}API_TOKEN"
            )
        if self.kafka_dead_letter_topic in self.kafka_topics:
            raise ValueError(
                f"{PREFIX}KAFKA_DEAD_LETTER_TOPIC is {json.dumps(self.kafka_dead_letter_topic)}:"
                f" must be none of the topics read, {PREFIX}KAFKA_TOPIC"
            )
        return self

    @property
    def lease_seconds(self) -> float:
        return self.push_lease_seconds or max(60.0, 3 * self.third_party_timeout_seconds)

    @property
    def trusted_key_seconds(self) -> float:
        """How long after its first sending a call may be sent again with its key alone."""
        return trusted_key_seconds(self.third_party_key_retention_hours * 3600, self.third_party_timeout_seconds)

    @property
    def till(self) -> Till:
        return Till(self.currency, Rounding(self.rounding))

    @property
    def kafka_topics(self) -> tuple[str, ...]:
        return tuple(self.kafka_topic.split(","))


_SECRET: Final = {
    "database_url",
    "third_party_token",
    "third_party_signing_secret",
    "api_token",
    "api_read_token",
    "kafka_config",
}
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


def check_api_is_closed(settings: Settings) -> None:
    """For processes with the API: without a token nobody but this machine may reach it. Raises BadSetting."""
    if settings.api_token is None and not is_loopback(settings.api_host):
        raise BadSetting(
            f"{PREFIX}API_HOST is {json.dumps(settings.api_host)}: others could reach the API there,"
            f" so {PREFIX}API_TOKEN is needed"
        )


def is_loopback(host: str) -> bool:
    """Whether the name or address is this machine's own, by itself: no name is looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    message = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        return message
    field = str(fault["loc"][0])
    if field == "kafka_config":
        message = _KAFKA_CONFIG
    got = "" if field in _SECRET or "@" in str(fault["input"]) else f" is {json.dumps(fault['input'], default=str)}"
    return f"{PREFIX}{field.upper()}{got}: {message[0].lower()}{message[1:]}"
