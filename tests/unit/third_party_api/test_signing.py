"""Signatures of calls: as the standard has them, and as our documents tell the third party to verify them."""

import base64
import re
import time
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from adapters.settings import signing_keys
from adapters.third_party_api.signing import Signer

DOCUMENT: Final = (Path(__file__).parents[3] / "docs" / "third-party.md").read_text("utf-8")
# The example of the standard's own libraries.
SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID, TIMESTAMP, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE: Final = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def signer(*secrets: str) -> Signer:
    return Signer(signing_keys(SecretStr(" ".join(secrets))))


def test_a_call_is_signed_as_the_standard_says() -> None:
    """With the signature of the standard's own example."""
    assert signer(SECRET).headers(MESSAGE_ID, TIMESTAMP, BODY) == {
        "webhook-id": MESSAGE_ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
    }


def test_while_a_secret_is_changed_there_is_a_signature_for_each() -> None:
    """Separated by a space, in the order of the secrets."""
    other = f"whsec_{base64.b64encode(bytes(range(64))).decode()}"
    said = signer(other, SECRET).headers(MESSAGE_ID, TIMESTAMP, BODY)["webhook-signature"]
    alone = signer(other).headers(MESSAGE_ID, TIMESTAMP, BODY)["webhook-signature"]
    assert said == f"{alone} {SIGNATURE}"


def test_the_standards_own_library_takes_what_we_sign() -> None:
    """With either secret while one is being changed, and a body that is more than ASCII."""
    other, body = f"whsec_{base64.b64encode(bytes(range(64))).decode()}", '{"storeNo": "Çeşme"}'.encode()
    headers = signer(other, SECRET).headers(MESSAGE_ID, int(time.time()), body)
    for secret in (SECRET, other):
        assert Webhook(secret).verify(body, headers) == {"storeNo": "Çeşme"}


@pytest.mark.parametrize("tampered", ["body", "webhook-id", "webhook-timestamp", "webhook-signature", "secret"])
def test_the_standards_own_library_refuses_what_was_tampered_with(tampered: str) -> None:
    """Each part in turn; fresh all the same, so that it's the signature that is refused."""
    now = int(time.time())
    headers, body, secret = signer(SECRET).headers(MESSAGE_ID, now, BODY), BODY, SECRET
    match tampered:
        case "body":
            body += b" "
        case "secret":
            secret = f"whsec_{base64.b64encode(24 * b'x').decode()}"
        case "webhook-timestamp":
            headers[tampered] = str(now - 1)
        case "webhook-signature":
            headers |= {tampered: SIGNATURE}
        case _:
            headers |= {tampered: "another"}
    with pytest.raises(WebhookVerificationError, match=r"^No matching signature found$"):
        Webhook(secret).verify(body, headers)


def test_a_signer_does_not_show_its_secrets() -> None:
    """Neither in a log line nor in a trace."""
    assert re.fullmatch(r"<[\w.]+ object at 0x\w+>", repr(signer(SECRET)))


@pytest.fixture
def documented() -> dict[str, Any]:
    """The program in the document."""
    found = re.search(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)
    return names


class FixedTime:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def time(self) -> float:
        return self._seconds


def test_the_documented_program_takes_our_signatures_and_no_others(documented: dict[str, Any]) -> None:
    """Within five minutes, for this body, id and time."""
    documented["time"] = FixedTime(TIMESTAMP + 299)
    is_ours = documented["is_ours"]
    other = f"whsec_{base64.b64encode(bytes(24)).decode()}"
    headers = signer(other, SECRET).headers(MESSAGE_ID, TIMESTAMP, BODY)
    assert is_ours(SECRET, headers, BODY)
    assert is_ours(other, headers, BODY)
    assert not is_ours(f"whsec_{base64.b64encode(24 * b'x').decode()}", headers, BODY)
    assert not is_ours(SECRET, headers, BODY + b" ")
    assert not is_ours(SECRET, headers | {"webhook-id": "another"}, BODY)
    assert not is_ours(SECRET, headers | {"webhook-timestamp": str(TIMESTAMP + 1)}, BODY)
    documented["time"] = FixedTime(TIMESTAMP + 301)
    assert not is_ours(SECRET, headers, BODY)


def test_the_call_in_the_document_is_signed_with_the_secret_that_stands_there(documented: dict[str, Any]) -> None:
    """So that a reader can try their own program on it."""
    found = re.search(r"```http\n(.*?)\n\n(.*?)\n```", DOCUMENT, re.DOTALL)
    secret = re.search(r"`(whsec_\w+=*)`", DOCUMENT)
    assert found is not None
    assert secret is not None
    lines = [line.partition(": ") for line in found[1].splitlines()[1:]]
    headers = {name.lower(): value for name, _, value in lines}
    documented["time"] = FixedTime(int(headers["webhook-timestamp"]))
    assert documented["is_ours"](secret[1], headers, found[2].encode())
