"""Settings: what they may be, and what is said of those that can't be used."""

import base64
from decimal import Decimal
from pathlib import Path

import pytest

from adapters.runtime.wiring import policy_of
from adapters.settings import PREFIX, Settings, read_settings
from adapters.third_party_api.factory import resolution_of
from domain.decision import DEFAULT_POLICY, Policy
from domain.errors import BadSetting
from domain.money import DEFAULT_TILL, Rounding, Till
from projections.resolution import EXACT, Resolution

SECRET = "s3cr3t-s3cr3t-s3"
WEBHOOK_SECRET = f"whsec_{base64.b64encode(24 * b'k').decode()}"
ANY_TEXT = {"kafka_bootstrap", "kafka_group", "api_host", "build"}
"""An empty text counts as none, and every other one is fine until it's used."""
BAD = [
    ("kafka_topic", "a,,b", "must be one topic name, or several different ones"),
    ("kafka_topic", "a,a", "must be one topic name, or several different ones"),
    ("kafka_topic", "^orders.*", "must be one topic name"),
    ("kafka_dead_letter_topic", "a,b", "must be one topic name"),
    ("kafka_dead_letter_topic", "order-cashback-promotion", "must be none of the topics read"),
    ("kafka_config", "{", "must be a JSON object"),
    ("kafka_config", f'["{SECRET}"]', "must be a JSON object"),
    ("kafka_config", f'{{"sasl.password": ["{SECRET}"]}}', "must be a JSON object"),
    ("database_url", f"mysql://u:{SECRET}@h/d", "must start with postgresql://"),
    ("database_url", f"postgresql://u:{SECRET}%zz@h/d", "percent-encoded"),
    ("database_url", f"postgresql://u:a@{SECRET}@h/d", "percent-encoded"),
    ("database_url", f"postgresql://u:{SECRET}/b@h/d", "percent-encoded"),
    ("database_url", f"postgresql://u:{SECRET}@[::1/d", "must be a postgresql:// URL"),
    ("database_url", f"postgresql://h:{SECRET}/d", "must be a postgresql:// URL"),
    ("third_party_url", "ftp://h", "must start with http:// or https://"),
    ("third_party_url", "https://", "name a host"),
    ("third_party_token", f"{SECRET} ", "visible ASCII"),
    ("third_party_url", f"https://u:{SECRET}@h", "must hold no user and password"),
    ("third_party_signing_secret", SECRET, "must be `whsec_` and 24 to 64 bytes in base64"),
    ("third_party_signing_secret", f"{WEBHOOK_SECRET} whsec_{SECRET}", "24 to 64 bytes"),
    ("third_party_signing_secret", f"{SECRET}{WEBHOOK_SECRET}", "must be `whsec_`"),
    ("third_party_signing_secret", ",", "must be `whsec_`"),
    ("third_party_ca_file", "/ca.pem", "needs a CASHBACK_THIRD_PARTY_URL with https://"),
    ("third_party_client_certificate_file", "/c.pem", "needs a CASHBACK_THIRD_PARTY_URL with https://"),
    ("third_party_client_key_file", "/k.pem", "needs CASHBACK_THIRD_PARTY_CLIENT_CERTIFICATE_FILE"),
    ("third_party_timeout_seconds", "0", "greater than 0"),
    ("third_party_timeout_seconds", "nan", "less than or equal to 86400"),
    ("third_party_timeout_seconds", "inf", "less than or equal to 86400"),
    ("third_party_key_retention_hours", "-1", "greater than or equal to 0"),
    ("third_party_key_retention_hours", "0.0277", "more than 10 times CASHBACK_THIRD_PARTY_TIMEOUT_SECONDS, 10"),
    ("third_party_lookups", "sometimes", "boolean"),
    ("third_party_date_digits", "10", "less than or equal to 9"),
    ("third_party_date_digits", "-1", "greater than or equal to 0"),
    ("third_party_corrections", "sometimes", "boolean"),
    ("currency", "TL", "is no currency code of ISO 4217"),
    ("currency", "try", "is no currency code of ISO 4217"),
    ("rounding", "up", "'half_up', 'half_even' or 'down'"),
    ("max_order_cashback", "0", "greater than 0"),
    ("max_order_cashback", "NaN", "finite number"),
    ("max_order_cashback", "much", "decimal"),
    ("push_concurrency", "0", "greater than or equal to 1"),
    ("push_concurrency", "1.5", "integer"),
    ("push_max_attempts", "0", "greater than or equal to 1"),
    ("push_backoff_base_seconds", "0", "greater than 0"),
    ("push_backoff_max_seconds", "soon", "number"),
    ("push_retry_after_max_seconds", "86401", "less than or equal to 86400"),
    ("push_calls_per_second", "0", "greater than 0"),
    ("push_lease_seconds", "0", "greater than 0"),
    ("push_lease_seconds", "20", "more than twice CASHBACK_THIRD_PARTY_TIMEOUT_SECONDS"),
    ("audit_orders_per_second", "0", "greater than 0"),
    ("intake_batch_size", "10001", "less than or equal to 10000"),
    ("intake_cache_orders", "-1", "greater than or equal to 0"),
    ("message_max_bytes", "1023", "greater than or equal to 1024"),
    ("order_max_events", "9", "greater than or equal to 10"),
    ("pending_alert_days", "0", "greater than or equal to 1"),
    ("pending_alert_days", "1.5", "valid integer"),
    ("clock_tolerance_seconds", "-0.1", "greater than or equal to 0"),
    ("api_port", "65536", "less than or equal to 65535"),
    ("api_token", f"{SECRET}\n", "visible ASCII"),
    ("api_token", "fifteen-letters", "16 characters at least"),
    ("api_read_token", "fifteen-letters", "16 characters at least"),
    ("trusted_proxies", "10.0.0.1/8", "addresses or networks"),
    ("trusted_proxies", "*", "addresses or networks"),
    ("trusted_proxies", "proxy.test", "addresses or networks"),
    ("api_read_token", SECRET, "needs a CASHBACK_API_TOKEN"),
    ("api_tokens_file", "/tokens", "needs a CASHBACK_API_TOKEN"),
    ("probes_port", "-1", "greater than or equal to 0"),
    ("stalled_after_seconds", "9", "greater than or equal to 10"),
    ("shutdown_timeout_seconds", "0", "greater than 0"),
    ("otel_endpoint", "collector:4318", "must start with http:// or https://"),
    ("log_level", "loud", "'debug', 'info', 'warning' or 'error'"),
    ("doubtful_orders", "maybe", "'hold' or 'pay'"),
    ("log_format", "xml", "'auto', 'json' or 'console'"),
]
NOT_SHOWN = {"kafka_config", "api_token", "api_read_token"}
GOOD = [
    ("kafka_topic", "a, b.c,D_e-9"),
    ("database_url", "postgresql://u:p%40ss@h1:5432,h2/d?sslmode=require"),
    ("database_url", "postgres:///d?host=/var/run/postgresql"),
    ("database_url", "postgresql://u:what?ever@h/d"),
    ("third_party_token", "!~"),
    ("third_party_signing_secret", f"{WEBHOOK_SECRET}, {WEBHOOK_SECRET}\n"),
    ("third_party_date_digits", "0"),
    ("third_party_corrections", "on"),
    ("third_party_corrections", "off"),
    ("currency", "KWD"),
    ("rounding", "half_even"),
    ("max_order_cashback", "0.01"),
    ("push_lease_seconds", "20.1"),
    ("push_concurrency", "4096"),
    ("message_max_bytes", "1024"),
    ("clock_tolerance_seconds", "0"),
    ("api_port", "0"),
    ("api_port", "65535"),
    ("api_token", "sixteen-letters!"),
    ("trusted_proxies", "10.0.0.1, 192.168.0.0/16,2001:db8::/32"),
    ("kafka_config", '{"ssl.ca.location": "/ca", "fetch.min.bytes": 1, "debug": "all", "check.crcs": true}'),
]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the developer's environment nor a `.env` file has a say."""
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def test_all_settings_have_a_default() -> None:
    """The service starts on a machine where everything listens where it usually does."""
    assert read_settings().kafka_topics == ("order-cashback-promotion",)


@pytest.mark.parametrize(("name", "value", "wanted"), BAD)
def test_a_setting_that_cannot_be_used_is_named_with_what_it_got_and_what_it_wants(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, wanted: str
) -> None:
    """In one line. What is secret is not shown."""
    monkeypatch.setenv(PREFIX + name.upper(), value)
    with pytest.raises(BadSetting) as refused:
        read_settings()

    said = str(refused.value)
    assert said.startswith(PREFIX + name.upper())
    assert wanted in said
    assert "\n" not in said
    assert SECRET not in said
    if SECRET not in value:
        assert (value in said) == (name not in NOT_SHOWN)


def test_there_is_a_bad_value_here_for_every_setting() -> None:
    """A new setting wants a row above."""
    assert {name for name, *_ in BAD} | ANY_TEXT == set(Settings.model_fields)


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_what_is_just_valid_is_taken(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """The edges belong to the range, and a password may hold anything if it's encoded."""
    monkeypatch.setenv(PREFIX + name.upper(), value)
    read_settings()


def test_secrets_do_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log line of ours, or a trace, can't give them away."""
    for name in ("third_party_token", "api_token"):
        monkeypatch.setenv(PREFIX + name.upper(), SECRET)
    monkeypatch.setenv("CASHBACK_API_READ_TOKEN", f"{SECRET}2")
    monkeypatch.setenv("CASHBACK_THIRD_PARTY_SIGNING_SECRET", WEBHOOK_SECRET)
    monkeypatch.setenv("CASHBACK_DATABASE_URL", f"postgresql://u:{SECRET}@h/d")
    shown = repr(read_settings())
    assert SECRET not in shown
    assert WEBHOOK_SECRET[10:] not in shown


def test_the_till_calculates_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default is the domain's own."""
    assert read_settings().till == DEFAULT_TILL
    monkeypatch.setenv("CASHBACK_CURRENCY", "KWD")
    monkeypatch.setenv("CASHBACK_ROUNDING", "down")
    assert read_settings().till == Till("KWD", Rounding.DOWN)


def test_messages_are_decided_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """The defaults are the domain's own."""
    assert policy_of(read_settings()) == DEFAULT_POLICY
    monkeypatch.setenv("CASHBACK_CLOCK_TOLERANCE_SECONDS", "0.5")
    monkeypatch.setenv("CASHBACK_MAX_ORDER_CASHBACK", "1000.50")
    monkeypatch.setenv("CASHBACK_THIRD_PARTY_CORRECTIONS", "on")
    expected = Policy(clock_tolerance_ns=500_000_000, max_order_cashback=Decimal("1000.50"), corrections=True)
    assert policy_of(read_settings()) == expected


def test_books_are_compared_as_finely_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the minor units of the currency, with the digits of dates that the third party keeps."""
    assert resolution_of(read_settings()) == EXACT
    monkeypatch.setenv("CASHBACK_CURRENCY", "JPY")
    monkeypatch.setenv("CASHBACK_THIRD_PARTY_DATE_DIGITS", "6")
    assert resolution_of(read_settings()) == Resolution(Till("JPY"), 6)


def test_an_empty_variable_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """`CASHBACK_API_TOKEN=` in a compose file is no token."""
    monkeypatch.setenv("CASHBACK_API_TOKEN", "")
    assert read_settings().api_token is None


def test_the_env_file_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is set for one run goes over what is kept in the file."""
    (tmp_path / ".env").write_text("CASHBACK_KAFKA_GROUP=file\nCASHBACK_API_PORT=1234\nOTHER=x\n")
    monkeypatch.setenv("CASHBACK_API_PORT", "4321")
    settings = read_settings()
    assert (settings.kafka_group, settings.api_port) == ("file", 4321)


def test_an_env_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """And not half read."""
    (tmp_path / ".env").write_bytes(b"CASHBACK_KAFKA_GROUP=caf\xe9\n")
    with pytest.raises(BadSetting, match=r"the file \.env can't be read"):
        read_settings()


@pytest.mark.parametrize(
    ("timeout", "lease", "expected"), [("10", "", 60.0), ("30", "", 90.0), ("10", "25", 25.0), ("20", "", 60.0)]
)
def test_a_lease_is_longer_than_the_calls_under_it(
    monkeypatch: pytest.MonkeyPatch, timeout: str, lease: str, expected: float
) -> None:
    """Unless given: a minute, or three time-outs of a call."""
    monkeypatch.setenv("CASHBACK_THIRD_PARTY_TIMEOUT_SECONDS", timeout)
    monkeypatch.setenv("CASHBACK_PUSH_LEASE_SECONDS", lease)
    assert read_settings().lease_seconds == expected
