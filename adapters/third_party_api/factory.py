"""The third party's client as the settings want it."""

from collections.abc import Callable, Mapping

from adapters.settings import Settings, signing_keys
from adapters.third_party_api.client import ThirdPartyClient
from adapters.third_party_api.signing import Signer
from adapters.third_party_api.tls import tls_context
from projections.resolution import Resolution


def resolution_of(settings: Settings) -> Resolution:
    """How finely the third party keeps what it is told."""
    return Resolution(settings.till, settings.third_party_date_digits)


def third_party_client(
    settings: Settings, *, concurrency: int, trace_headers: Callable[[], Mapping[str, str]] | None = None
) -> ThirdPartyClient:
    """Raises BadSetting for a file that can't be used."""
    token, secret = settings.third_party_token, settings.third_party_signing_secret
    return ThirdPartyClient(
        settings.third_party_url,
        token=token.get_secret_value() if token else None,
        timeout_seconds=settings.third_party_timeout_seconds,
        concurrency=concurrency,
        signer=Signer(signing_keys(secret)) if secret else None,
        tls=tls_context(
            settings.third_party_ca_file,
            settings.third_party_client_certificate_file,
            settings.third_party_client_key_file,
        ),
        trace_headers=trace_headers,
    )
