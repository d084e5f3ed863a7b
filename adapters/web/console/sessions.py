"""Who is signed in, in a cookie: no table, so it holds for every process that knows the same tokens.

The cookie says what its bearer may do, by what name and until when, and is authenticated by a key made from the
token: it holds neither the token nor anything that the token could be guessed from quickly, and it ends with it.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Final

import msgspec

from adapters.web.auth import Access, Tokens

SESSION_SECONDS: Final = 12 * 3600
MAX_COOKIE_LENGTH: Final = 1024
_SALT: Final = b"order-cashback-integration console"


class Session(msgspec.Struct, array_like=True, frozen=True):
    """Somebody who is signed in, as the cookie says it. `name` is what they say it is."""

    access: Access
    name: str
    nonce: str
    expires_at: int
    """Seconds since 1970."""

    @property
    def may_act(self) -> bool:
        return self.access is Access.ACT


_decode: Final = msgspec.json.Decoder(Session).decode


class Sessions:
    """Makes and reads cookies, and tokens against forged forms. Without tokens the key is this process's own."""

    def __init__(self, tokens: Tokens, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        secret_of = {access: tokens.secret_of(access) for access in Access}
        self._keys = {
            access: hashlib.scrypt(secret, salt=_SALT + access.encode(), n=2**14, r=8, p=1, dklen=32)
            for access, secret in secret_of.items()
            if secret is not None
        }
        if tokens.open:
            self._keys[Access.ACT] = secrets.token_bytes(32)

    def begin(self, access: Access, name: str) -> Session:
        return Session(access, name, secrets.token_urlsafe(16), int(self._clock()) + SESSION_SECONDS)

    def write(self, session: Session) -> str:
        """The cookie's value."""
        said = msgspec.json.encode(session)
        return f"{_text(said)}.{_text(self._mac(session.access, b'session', said))}"

    def read(self, cookie: str | None) -> Session | None:
        """None if it isn't ours, or not any more."""
        if cookie is None or len(cookie) > MAX_COOKIE_LENGTH:
            return None
        said, _, mac = cookie.partition(".")
        try:
            octets = _octets(said)
            session = _decode(octets)
            expected = self._mac(session.access, b"session", octets)
            if not hmac.compare_digest(_octets(mac), expected) or session.expires_at <= self._clock():
                return None
        except (binascii.Error, ValueError, KeyError, msgspec.DecodeError):
            return None
        return session

    def form_token(self, session: Session) -> str:
        """For the forms of one session; another site's page can't know it."""
        return _text(self._mac(session.access, b"form", session.nonce.encode()))

    def is_form_token(self, session: Session, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.form_token(session).encode())

    def _mac(self, access: Access, purpose: bytes, message: bytes) -> bytes:
        return hmac.digest(self._keys[access], purpose + b"\0" + message, "sha256")


def _text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def _octets(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
