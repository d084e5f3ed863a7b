"""The third party's client on real connections: what is sent, what each way to fail means, what is never done."""

import asyncio
import gzip
import time
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from adapters.third_party_api.client import MAX_ANSWER_BYTES, ThirdPartyClient
from adapters.third_party_api.signing import Signer
from domain.effects import EffectKind
from projections.delivery.ports import Answer, Call, Outcome
from sandbox.servers.free_port import free_port
from tests.support.fake_ledger import call, lifecycle
from tests.support.raw_server import Connection, Handler, RawServer, agree, raw_server
from tests.support.third_party_server import ThirdParty, serving

pytestmark = pytest.mark.slow

TIMEOUT_SECONDS: Final = 0.3
PATIENT_SECONDS: Final = 60.0
"""Only a client that waits for ever reaches it."""
PUT: Final = call(7, 2, EffectKind.UPDATE)
POST: Final = call(7, 1)


def client(
    url: str,
    *,
    token: str | None = None,
    timeout_seconds: float = PATIENT_SECONDS,
    signer: Signer | None = None,
) -> ThirdPartyClient:
    return ThirdPartyClient(url, token=token, timeout_seconds=timeout_seconds, concurrency=8, signer=signer)


def send(
    handle: Handler, *calls: Call, token: str | None = None, timeout_seconds: float = PATIENT_SECONDS
) -> tuple[list[Answer], RawServer]:
    """Sends the calls one after the other: what the client makes of a server's behaviour, and what that saw."""

    async def main() -> tuple[list[Answer], RawServer]:
        async with raw_server(handle) as server:
            return await sent_to(server.url, calls, token=token, timeout_seconds=timeout_seconds), server

    return asyncio.run(main())


async def sent_to(
    url: str, calls: Sequence[Call], *, token: str | None = None, timeout_seconds: float = PATIENT_SECONDS
) -> list[Answer]:
    async with client(url, token=token, timeout_seconds=timeout_seconds) as third_party:
        return [await asyncio.wait_for(third_party.send(each), 2 * PATIENT_SECONDS) for each in calls]


def outcomes(answers: Sequence[Answer]) -> list[Outcome]:
    return [answer.outcome for answer in answers]


class TestRequests:
    def test_a_call_goes_out_as_the_contract_says(self) -> None:
        """Method, path, key, token, content type, and the body to the last byte; nothing packed is asked for."""
        answers, server = send(agree, *lifecycle(7), token="secret")
        assert outcomes(answers) == [Outcome.DELIVERED] * 3
        assert [request.line for request in server.requests] == [
            "POST /v1/cashbacks HTTP/1.1",
            "PUT /v1/cashbacks/7 HTTP/1.1",
            "POST /v1/cashbacks/7/complete HTTP/1.1",
        ]
        for request, sent in zip(server.requests, lifecycle(7), strict=True):
            assert request.body == sent.body
            assert request.headers["idempotency-key"] == str(sent.key)
            assert request.headers["authorization"] == "Bearer secret"
            assert request.headers["content-type"] == "application/json"
            assert request.headers["accept-encoding"] == "identity"
        assert server.connections == 1, "the connection is kept"

    def test_each_attempt_is_signed_over_the_body_that_is_sent(self) -> None:
        """The id is the idempotency key, the time that of the attempt; a lookup needs no signature."""
        signer = Signer([b"k" * 24])
        begun = int(time.time())

        async def main() -> RawServer:
            async with raw_server(agree) as server:
                async with client(server.url, token="secret", signer=signer) as third_party:
                    await third_party.send(POST)
                    await third_party.send(POST)
                    await third_party.lookup(7)
                return server

        *attempts, lookup = asyncio.run(main()).requests
        for request in attempts:
            timestamp = int(request.headers["webhook-timestamp"])
            assert begun <= timestamp <= time.time()
            expected = signer.headers(request.headers["idempotency-key"], timestamp, request.body)
            assert expected.items() <= request.headers.items()
        assert lookup.line == "GET /v1/cashbacks/7 HTTP/1.1"
        assert lookup.headers["authorization"] == "Bearer secret"
        assert not {"webhook-id", "webhook-signature", "idempotency-key"} & lookup.headers.keys()

    def test_without_a_token_nothing_is_said_of_one(self) -> None:
        """Not even an empty header."""
        _, server = send(agree, POST)
        assert "authorization" not in server.requests[0].headers

    def test_a_base_url_may_have_a_path(self) -> None:
        """As gateways do."""

        async def main() -> None:
            async with raw_server(agree) as server:
                await sent_to(f"{server.url}/gateway/cashback", [PUT])
                assert server.requests[0].line == "PUT /gateway/cashback/v1/cashbacks/7 HTTP/1.1"

        asyncio.run(main())

    def test_cookies_are_not_kept(self) -> None:
        """Every call stands for itself."""

        async def handle(connection: Connection) -> None:
            while True:
                await connection.request()
                await connection.answer(200, "Set-Cookie: session=1; Path=/")

        async def main() -> None:
            async with raw_server(handle) as server:
                await sent_to(server.url.replace("127.0.0.1", "localhost"), [POST, PUT])  # a name that may set some
                assert ["cookie" in request.headers for request in server.requests] == [False, False]

        asyncio.run(main())

    def test_the_environment_sends_calls_nowhere_else(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Neither a proxy nor a password file of the machine's counts."""

        async def main() -> None:
            async with raw_server(agree) as server, raw_server(agree) as proxy:
                for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
                    monkeypatch.setenv(name, proxy.url)
                    monkeypatch.setenv(name.lower(), proxy.url)
                netrc = tmp_path / "netrc"
                netrc.write_text("machine 127.0.0.1 login us password secret\n")
                monkeypatch.setenv("NETRC", str(netrc))
                await sent_to(server.url, [POST])
                assert (len(server.requests), proxy.connections) == (1, 0)
                assert "authorization" not in server.requests[0].headers

        asyncio.run(main())

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_redirects_are_not_followed(self, status: int) -> None:
        """Nobody else gets the order's data; it's an answer to try again."""

        async def main() -> None:
            async with raw_server(agree) as elsewhere:

                async def handle(connection: Connection) -> None:
                    await connection.request()
                    await connection.answer(status, f"Location: {elsewhere.url}/v1/cashbacks")

                async with raw_server(handle) as server:
                    [answer] = await sent_to(server.url, [POST])
                    assert (answer.outcome, answer.status) == (Outcome.FAILED, status)
                assert elsewhere.connections == 0

        asyncio.run(main())


class TestFailures:
    @pytest.mark.parametrize("host", ["127.0.0.1", "cashback.invalid"])
    def test_a_call_that_never_left_has_failed(self, host: str) -> None:
        """Nobody listens, or the name is unknown: surely not done."""
        [answer] = asyncio.run(sent_to(f"http://{host}:{free_port()}", [POST]))
        assert (answer.outcome, answer.status) == (Outcome.FAILED, None)

    def test_a_server_without_the_encryption_that_was_asked_for_gets_no_call(self) -> None:
        """The handshake fails before anything is said."""

        async def handle(connection: Connection) -> None:
            await connection.answer(400)

        async def main() -> None:
            async with raw_server(handle) as server:
                [answer] = await sent_to(server.url.replace("http:", "https:"), [POST])
                assert (answer.outcome, answer.status) == (Outcome.FAILED, None)

        asyncio.run(main())

    @pytest.mark.parametrize(
        "said",
        [
            "",
            "HTTP/1.1 20",
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
            "SSH-2.0-OpenSSH_9.6\r\n\r\n",
            "HTTP/1.1 999999 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: " + "x" * 100_000 + "\r\n\r\n",
        ],
        ids=count(),
    )
    @pytest.mark.parametrize("sent", [POST, PUT], ids=["POST", "PUT"])
    def test_an_answer_that_is_lost_or_broken_leaves_the_call_in_doubt(self, said: str, sent: Call) -> None:
        """Also if it began well; and the call is sent once, not again behind our back."""

        async def handle(connection: Connection) -> None:
            await connection.request()
            await connection.say(said)

        [answer], server = send(handle, sent)
        assert (answer.outcome, answer.status) == (Outcome.IN_DOUBT, None)
        assert len(server.requests) == server.connections == 1

    @pytest.mark.parametrize("sent", [POST, PUT], ids=["POST", "PUT"])
    def test_an_answer_lost_on_a_kept_connection_leaves_the_call_in_doubt(self, sent: Call) -> None:
        """The library under us would send a PUT again by itself: an attempt that no one would know of."""

        async def handle(connection: Connection) -> None:
            await connection.request()
            await connection.answer()
            await connection.request()

        answers, server = send(handle, POST, sent, sent)
        assert outcomes(answers) == [Outcome.DELIVERED, Outcome.IN_DOUBT, Outcome.DELIVERED]
        assert (len(server.requests), server.connections) == (3, 2)

    @pytest.mark.parametrize("begin", ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
    def test_a_call_that_hangs_is_in_doubt_when_its_time_is_up(self, begin: str) -> None:
        """Before the answer, in its head, or in its body; and the connection is given up."""
        left = asyncio.Event()

        async def handle(connection: Connection) -> None:
            await connection.request()
            await connection.say(begin)
            await connection.until_left()
            left.set()

        async def main() -> None:
            async with raw_server(handle) as server:
                [answer] = await sent_to(server.url, [POST], timeout_seconds=TIMEOUT_SECONDS)
                assert (answer.outcome, answer.text) == (Outcome.IN_DOUBT, f"no answer within {TIMEOUT_SECONDS} s")
                await asyncio.wait_for(left.wait(), PATIENT_SECONDS)
                assert len(server.requests) == 1

        asyncio.run(main())

    @pytest.mark.parametrize("begin", ["HTTP/1.1 200 OK\r\nX: ", "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
    def test_an_answer_in_drips_is_not_waited_for_longer(self, begin: str) -> None:
        """The time counts from the beginning, not from the last byte."""

        async def handle(connection: Connection) -> None:
            await connection.request()
            await connection.say(begin)
            while True:
                await connection.say("x")
                await asyncio.sleep(TIMEOUT_SECONDS / 20)

        [answer], _ = send(handle, POST, timeout_seconds=TIMEOUT_SECONDS)
        assert answer.outcome is Outcome.IN_DOUBT

    def test_of_an_endless_answer_only_the_beginning_is_read(self) -> None:
        """Its status counts."""
        said = 0

        async def handle(connection: Connection) -> None:
            nonlocal said
            await connection.request()
            await connection.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                await connection.say(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                said += 0x10000

        [answer], _ = send(handle, POST)
        assert answer.outcome is Outcome.DELIVERED
        assert MAX_ANSWER_BYTES <= said < 200 * MAX_ANSWER_BYTES, "as much as the buffers on the way hold"

    def test_a_packed_answer_is_not_unpacked(self) -> None:
        """A hundred megabytes of zeros are a small answer, and stay one."""
        bomb = gzip.compress(bytes(100 * 1024**2))

        async def handle(connection: Connection) -> None:
            await connection.request()
            await connection.answer(200, "Content-Encoding: gzip", body=bomb)

        tracemalloc.start()
        [answer], _ = send(handle, POST)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert answer.outcome is Outcome.DELIVERED
        assert peak_bytes < 20 * 1024**2


class TestSandbox:
    def test_the_sandbox_sees_every_attempt_that_we_know_of_and_no_other(self) -> None:
        """Errors, lost answers and hanging calls, on kept connections, eight at once."""

        async def deliver(third_party: ThirdPartyClient, order_id: int) -> list[tuple[str, Outcome]]:
            attempts = []
            for each in lifecycle(order_id):
                outcome = None
                while outcome is not Outcome.DELIVERED:
                    outcome = (await third_party.send(each)).outcome
                    attempts.append((str(each.key), outcome))
            return attempts

        async def main(url: str) -> list[tuple[str, Outcome]]:
            async with client(url, timeout_seconds=1) as third_party:
                found = await asyncio.gather(*(deliver(third_party, order_id) for order_id in range(1, 41)))
            return [attempt for attempts in found for attempt in attempts]

        with serving() as sandbox:
            sandbox.faults(seed=3, errorRate=0.2, lostAnswerRate=0.2, hangRate=0.01)
            attempts = asyncio.run(main(f"http://127.0.0.1:{sandbox.port}"))
            assert calls_seen(sandbox) == Counter(key for key, _ in attempts)
            assert sandbox.violations() == []
        kinds = Counter(outcome for _, outcome in attempts)
        assert kinds.keys() == {Outcome.DELIVERED, Outcome.FAILED, Outcome.IN_DOUBT}


def calls_seen(sandbox: ThirdParty) -> Counter[str]:
    return Counter(seen["key"] for seen in sandbox.show("calls")["calls"])
