"""Signatures of our calls, as Standard Webhooks has them: the third party can tell that a body is ours, and fresh.

`webhook-signature` holds `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`, once for each secret: while
a secret is being changed both sides know two.
"""

import hmac
from base64 import b64encode
from collections.abc import Sequence


class Signer:
    """Knows the secrets, and never shows them."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)

    def headers(self, message_id: str, timestamp_seconds: int, body: bytes) -> dict[str, str]:
        """`timestamp_seconds` since 1970, of this attempt."""
        signed = b"%s.%d.%s" % (message_id.encode(), timestamp_seconds, body)
        signatures = [b64encode(hmac.digest(key, signed, "sha256")).decode() for key in self._keys]
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp_seconds),
            "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
        }
