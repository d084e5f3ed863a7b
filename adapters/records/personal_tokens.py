"""Tokens that belong to one person each: a file has names, roles and digests, and no token.

A line is `name:role:digest`: the name that stands in the record of what was done, `operator` or `reader`, and the
SHA-256 of the token in hex. Tokens are drawn, so a plain digest can't be guessed back. Empty lines, and those that
begin with `#`, say nothing.
"""

import hashlib
import re
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from adapters.records.operators import MAX_NAME_LENGTH
from adapters.settings import PREFIX
from domain.errors import BadSetting

MAX_FILE_BYTES: Final = 1024 * 1024


class Access(StrEnum):
    """What a token allows."""

    READ = "read"
    ACT = "act"
    """And read."""


class PersonalToken(NamedTuple):
    """Of one person; no two have the same name."""

    name: str
    access: Access
    digest: bytes
    """SHA-256."""


_ACCESS: Final = {"operator": Access.ACT, "reader": Access.READ}


def digest_of(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def read_personal_tokens(path: str) -> tuple[PersonalToken, ...]:
    """Raises BadSetting, which names the line and shows nothing of it."""
    setting = f"{PREFIX}API_TOKENS_FILE"
    try:
        with Path(path).open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1).decode()
    except (OSError, UnicodeError) as error:
        raise BadSetting(f"{setting}: the file can't be read: {type(error).__name__}") from None
    if len(text) > MAX_FILE_BYTES:
        raise BadSetting(f"{setting}: the file is larger than {MAX_FILE_BYTES} bytes")
    found: dict[str, PersonalToken] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        token = _token_of(line.strip())
        if token is None:
            raise BadSetting(
                f"{setting}: line {number} must be name:role:digest, the role operator or reader, the digest"
                " SHA-256 in hex"
            )
        if token.name in found or token.digest in {each.digest for each in found.values()}:
            raise BadSetting(f"{setting}: line {number} has the name or the token of another line")
        found[token.name] = token
    return tuple(found.values())


def _token_of(line: str) -> PersonalToken | None:
    name, _, rest = line.partition(":")
    role, _, digest = rest.partition(":")
    is_name = name == name.strip() and 0 < len(name) <= MAX_NAME_LENGTH and name.isprintable()
    if not is_name or role not in _ACCESS or not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        return None
    return PersonalToken(name, _ACCESS[role], bytes.fromhex(digest))
