"""TLS to the third party: its certificate is always verified, and ours is shown if we have one."""

import ssl
from pathlib import Path

from adapters.settings import PREFIX
from domain.errors import BadSetting


def tls_context(
    ca_file: str | None = None, certificate_file: str | None = None, key_file: str | None = None
) -> ssl.SSLContext:
    """With a `ca_file` nobody but its authorities is trusted, else those of the machine. A certificate's key may be
    in its own file. Raises BadSetting, which names the setting."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        raise _unusable("CA_FILE", ca_file, error) from None
    # The variable SSLKEYLOGFILE would write down what lets anybody read along.
    context.keylog_filename = None  # type: ignore[assignment]  # typeshed doesn't know that None is the default
    if certificate_file is not None:
        _check_readable("CLIENT_CERTIFICATE_FILE", certificate_file)
        if key_file is not None:
            _check_readable("CLIENT_KEY_FILE", key_file)
        try:
            context.load_cert_chain(certificate_file, key_file, password=_no_password)
        except (OSError, ValueError) as error:
            raise _unusable("CLIENT_CERTIFICATE_FILE", certificate_file, error) from None
    return context


def _no_password() -> str:
    """Or else OpenSSL asks on the terminal, and waits."""
    raise ValueError("the key is encrypted")


def _check_readable(name: str, path: str) -> None:
    try:
        Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise _unusable(name, path, error) from None


def _unusable(name: str, path: str | None, error: Exception) -> BadSetting:
    if isinstance(error, ssl.SSLError):
        why = error.reason or "not a certificate in PEM form"
    elif isinstance(error, OSError):
        why = error.strerror or type(error).__name__
    else:
        why = str(error)
    return BadSetting(f"{PREFIX}THIRD_PARTY_{name} is {path}: can't be used: {why}")
