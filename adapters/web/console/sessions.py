"""Who is signed in, in a cookie: it holds for every process that knows the same tokens. Only sessions that were
ended before their time, by signing out, are in a table.

The cookie says what its bearer may do, by what name and until when, and is authenticated by a key made from the
token: it holds neither the token nor anything that the token could be guessed from quickly, and it ends with it.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Final

import msgspec
from itsdangerous import BadData, Signer
from itsdangerous.encoding import base64_decode, base64_encode

from adapters.records.personal_tokens import Access
from adapters.web.auth import Bearer, Tokens

SESSION_SECONDS: Final = 12 * 3600
MAX_COOKIE_LENGTH: Final = 1024
_SALT: Final = b"order-cashback-integration console"


class Session(msgspec.Struct, array_like=True, frozen=True):
    """Somebody who is signed in, as the cookie says it. `name` is what they say it is, unless it is proved."""

    access: Access
    name: str
    nonce: str
    expires_at: int
    """Seconds since 1970."""
    is_proved: bool = False
    """The token was somebody's own, and so the name is theirs."""

    @property
    def may_act(self) -> bool:
        return self.access is Access.ACT


_decode: Final = msgspec.json.Decoder(Session).decode


class Sessions:
    """Makes and reads cookies, and tokens against forged forms. Without tokens the key is this process's own."""

    def __init__(self, tokens: Tokens, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        secret_of = {access: tokens.secret_of(access) for access in Access}
        keys = {
            access: hashlib.scrypt(secret, salt=_SALT + access.encode(), n=2**14, r=8, p=1, dklen=32)
            for access, secret in secret_of.items()
            if secret is not None
        }
        if tokens.open:
            keys[Access.ACT] = secrets.token_bytes(32)
        of_bearers = {Bearer(access): key for access, key in keys.items()}
        for each in tokens.personal:  # the digest alone isn't enough: whoever sees the file can sign nothing
            of_bearers[Bearer(each.access, each.name)] = hmac.digest(keys[Access.ACT], each.digest, "sha256")
        self._cookies = {bearer: _signer(key, b"session") for bearer, key in of_bearers.items()}
        self._forms = {bearer: _signer(key, b"form") for bearer, key in of_bearers.items()}

    def begin(self, access: Access, name: str, *, is_proved: bool = False) -> Session:
        expires_at = int(self._clock()) + SESSION_SECONDS
        return Session(access, name, secrets.token_urlsafe(16), expires_at, is_proved)

    def write(self, session: Session) -> str:
        """The cookie's value."""
        return self._cookies[_bearer(session)].sign(base64_encode(msgspec.json.encode(session))).decode()

    def read(self, cookie: str | None) -> Session | None:
        """None if it isn't ours, or not any more."""
        if cookie is None or len(cookie) > MAX_COOKIE_LENGTH:
            return None
        for bearer, signer in self._cookies.items():
            try:
                session = _decode(base64_decode(signer.unsign(cookie)))
            except (BadData, ValueError, msgspec.DecodeError):
                continue
            # Who knows the reading token can make its key, and sign anything by it.
            if _bearer(session) == bearer and session.expires_at > self._clock():
                return session
        return None

    def form_token(self, session: Session) -> str:
        """For the forms of one session; another site's page can't know it."""
        return self._forms[_bearer(session)].get_signature(session.nonce).decode()

    def is_form_token(self, session: Session, given: str) -> bool:
        return self._forms[_bearer(session)].verify_signature(session.nonce, given)


def _bearer(session: Session) -> Bearer:
    """By whose token it began."""
    return Bearer(session.access, session.name if session.is_proved else None)


def _signer(key: bytes, purpose: bytes) -> Signer:
    return Signer(key, salt=purpose, key_derivation="hmac", digest_method=hashlib.sha256)
