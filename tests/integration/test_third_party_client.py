"""The third party's client on real connections: what is sent, what each way to fail means, what is never done."""

import asyncio
import gzip
import re
import time
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.third_party_api.client import ThirdPartyClient
from adapters.third_party_api.http_connections import MAX_BODY_BYTES, MAX_LINES_BYTES
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


@st.composite
def answers_in_pieces(draw: st.DrawFn) -> list[bytes]:
    """Anything; often with a good beginning, and cut anywhere."""
    line = st.builds(
        b"HTTP/1.%d %d%b".__mod__,
        st.tuples(
            st.integers(0, 1),
            st.sampled_from([100, 101, 103, 200, 201, 204, 304, 307, 401, 404, 409, 429, 503, 999]),
            st.sampled_from([b"", b" OK", b" planifi\xe9", b"\x00"]),
        ),
    )
    field = st.sampled_from(
        [
            *(b"Content-Length: %d" % n for n in (0, 1, 5, 70_000)),
            b"Content-Length: -1",
            b"Content-Length: 1_0",
            b"Transfer-Encoding: chunked",
            b"Retry-After: Fri, 31 Dec 99999 23:59:59 GMT",
            b"Retry-After: " + b"9" * 5000,
            b"Connection: close",
            b": ",
        ]
    ) | st.binary(max_size=20)
    fields = draw(st.lists(field, max_size=4))
    body = draw(
        st.binary(max_size=20) | st.sampled_from([b"5\r\nhello\r\n0\r\n\r\n", b"fffffffffffffffff\r\n", b"1\r\nxy"])
    )
    said = b"\r\n".join([draw(line | st.binary(max_size=20)), *fields, b"", body])
    said = said[: draw(st.integers(0, len(said)))] if draw(st.booleans()) else said
    cut = draw(st.integers(0, len(said)))
    return [said[:cut], said[cut:]]


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
            "HTTP/1.1 200 OK",
            "HTTP/1.1 999999 OK\r\n\r\n",
            "HTTP/1.1 2xx OK\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "SSH-2.0-OpenSSH_9.6\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 20",
            "HTTP/1.1 " + "2" * 2 * MAX_LINES_BYTES,
        ],
        ids=count(),
    )
    @pytest.mark.parametrize("sent", [POST, PUT], ids=["POST", "PUT"])
    def test_an_answer_without_a_status_leaves_the_call_in_doubt(self, said: str, sent: Call) -> None:
        """And the call is sent once, not again behind our back."""

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

    def test_a_call_that_hangs_is_in_doubt_when_its_time_is_up(self) -> None:
        """And the connection is given up."""
        left = asyncio.Event()

        async def handle(connection: Connection) -> None:
            await connection.request()
            await connection.until_left()
            left.set()

        async def main() -> None:
            async with raw_server(handle) as server:
                [answer] = await sent_to(server.url, [POST], timeout_seconds=TIMEOUT_SECONDS)
                assert (answer.outcome, answer.text) == (Outcome.IN_DOUBT, f"no answer within {TIMEOUT_SECONDS} s")
                await asyncio.wait_for(left.wait(), PATIENT_SECONDS)
                assert len(server.requests) == 1

        asyncio.run(main())

    def test_a_status_in_drips_is_not_waited_for_longer(self) -> None:
        """The time counts from the beginning, not from the last byte."""

        async def handle(connection: Connection) -> None:
            await connection.request()
            await connection.say("HTTP/1.1 200 ")
            while True:
                await connection.say("x")
                await asyncio.sleep(TIMEOUT_SECONDS / 20)

        [answer], _ = send(handle, POST, timeout_seconds=TIMEOUT_SECONDS)
        assert answer.outcome is Outcome.IN_DOUBT

    def test_a_call_that_finds_no_connection_in_time_has_failed(self) -> None:
        """Here all places are taken by a call that hangs: nothing of it has left."""

        async def handle(connection: Connection) -> None:
            await connection.request()
            await connection.until_left()

        async def main() -> None:
            async with (
                raw_server(handle) as server,
                ThirdPartyClient(server.url, token=None, timeout_seconds=TIMEOUT_SECONDS, concurrency=1) as third,
            ):
                answers = await asyncio.gather(third.send(POST), third.send(PUT))
                assert outcomes(answers) == [Outcome.IN_DOUBT, Outcome.FAILED]
                assert answers[1].text == f"no connection within {TIMEOUT_SECONDS} s"

        asyncio.run(main())

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
        assert MAX_BODY_BYTES <= said < 200 * MAX_BODY_BYTES, "as much as the buffers on the way hold"

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


DATED: Final = "Fri, 31 Dec 99999999999999999999 23:59:59 GMT"
ANSWERS: Final[dict[str, tuple[str, bytes]]] = {
    "an ordinary one": (" Said", b"Content-Length: 2\r\n\r\n{}"),
    "no reason phrase": ("", b"Content-Length: 2\r\n\r\n{}"),
    "a reason phrase in Latin-1": (" planifi\xe9", b"Content-Length: 2\r\n\r\n{}"),
    "a reason phrase of 10,000 characters": (" " + "x" * 10_000, b"Content-Length: 2\r\n\r\n{}"),
    "a header of 100,000 bytes": (" Said", b"X: " + b"x" * 100_000 + b"\r\nContent-Length: 2\r\n\r\n{}"),
    "a header without an end": (" Said", b"X: " + b"x" * 2 * MAX_LINES_BYTES),
    "a thousand headers": (" Said", b"X: x\r\n" * 1000 + b"Content-Length: 2\r\n\r\n{}"),
    "headers without an end": (" Said", b"X: x\r\n" * (MAX_LINES_BYTES // 3)),
    "headers in Latin-1": (" Said", b"X: \xe9\xff\r\nContent-Length: 2\r\n\r\n{}"),
    "headers that are none": (" Said", b"\x00 \xff\r\n : \r\n folded\r\nContent-Length: 2\r\n\r\n{}"),
    "bare line feeds": (" Said", b"Content-Length: 2\n\n{}"),
    "two lengths": (" Said", b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    "a length that is none": (" Said", b"Content-Length: x\r\n\r\n{}"),
    "a length beyond all measure": (" Said", b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}"),
    "a coding that we don't know": (" Said", b"Transfer-Encoding: gzip\r\n\r\n{}"),
    "a body cut short": (" Said", b"Content-Length: 10\r\n\r\n{"),
    "a chunk cut short": (" Said", b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"),
    "a chunk without a length": (" Said", b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "a chunk longer than it says": (" Said", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n"),
    "a head cut short": (" Said", b"Content-Le"),
    "nothing but the status": (" Said", b""),
    "a body that is no text": (" Said", b"Content-Length: 4\r\n\r\n\xff\x00\xfe\x00"),
    "a Retry-After beyond all years": (" Said", f"Retry-After: {DATED}\r\nContent-Length: 0\r\n\r\n".encode()),
    "a Retry-After in the year 99999": (" Said", b"Retry-After: Fri, 31 Dec 99999 23:59:59 GMT\r\n\r\n"),
    "a Retry-After that is none": (" Said", b"Retry-After: \xff\x00\r\nContent-Length: 0\r\n\r\n"),
}
MEANINGS: Final = {
    200: Outcome.DELIVERED,
    204: Outcome.DELIVERED,
    307: Outcome.FAILED,
    401: Outcome.UNAUTHORIZED,
    404: Outcome.REFUSED,
    429: Outcome.FAILED,
    503: Outcome.FAILED,
}


class TestStatusFirst:
    """What a status means is changed by nothing that comes after it (contract.md, section 2)."""

    @pytest.mark.parametrize("name", ANSWERS)
    def test_whatever_comes_with_it_a_status_keeps_its_meaning(self, name: str) -> None:
        """Of calls and of lookups; and whoever calls next hears their own answer."""
        phrase, rest = ANSWERS[name]

        async def handle(connection: Connection) -> None:
            request = await connection.request()
            if request.line.startswith("PUT"):
                await connection.answer(202)
                return
            status = int(request.headers["idempotency-key"][-3:])
            await connection.say(f"HTTP/1.1 {status}{phrase}\r\n".encode("latin-1") + rest)

        async def main() -> dict[int, Outcome]:
            found = {}
            async with raw_server(handle) as server, client(server.url) as third_party:
                for status in MEANINGS:
                    asks = replace(POST, key=UUID(f"00000000-0000-0000-0000-000000000{status}"))
                    answer = await asyncio.wait_for(third_party.send(asks), PATIENT_SECONDS)
                    assert answer.status == status
                    found[status] = answer.outcome
                    assert (await third_party.send(PUT)).status == 202
            return found

        assert asyncio.run(main()) == MEANINGS

    @pytest.mark.parametrize(
        "begin", ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nX: ", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"]
    )
    def test_a_status_stands_when_the_rest_does_not_come_in_time(self, begin: str) -> None:
        """The rest of the head, or of the body."""

        async def handle(connection: Connection) -> None:
            await connection.request()
            await connection.say(begin)
            await connection.until_left()

        [answer], _ = send(handle, POST, timeout_seconds=TIMEOUT_SECONDS)
        assert (answer.outcome, answer.status) == (Outcome.DELIVERED, 200)

    @pytest.mark.parametrize("declared", ["", "Content-Length: 2\r\n", "Transfer-Encoding: chunked\r\n"])
    @pytest.mark.parametrize("is_late", [False, True])
    def test_a_body_where_none_belongs_is_not_the_next_answer(self, declared: str, *, is_late: bool) -> None:
        """204 says that there is none; the connection isn't used again."""

        async def handle(connection: Connection) -> None:
            while True:
                request = await connection.request()
                if request.line.startswith("PUT"):
                    await connection.answer(202)
                    continue
                head = f"HTTP/1.1 204 No Content\r\n{declared}\r\n"
                await connection.say(head if is_late else head + "{}")
                await asyncio.sleep(TIMEOUT_SECONDS / 10)
                await connection.say("{}")

        async def main() -> list[int | None]:
            async with raw_server(handle) as server, client(server.url) as third_party:
                first = await third_party.send(POST)
                await asyncio.sleep(TIMEOUT_SECONDS)
                return [first.status, (await third_party.send(PUT)).status]

        assert asyncio.run(main()) == [204, 202]

    @pytest.mark.parametrize(
        ("body", "outcome"),
        [
            ('{"code":"in_fl', Outcome.IN_DOUBT),
            ('{"code":"in_flight"}', Outcome.IN_FLIGHT),
            ('{"code":"illegal_state"}', Outcome.REFUSED),
        ],
    )
    def test_a_conflict_that_does_not_come_whole_parks_nobody_if_it_may_be_one_in_flight(
        self, body: str, outcome: Outcome
    ) -> None:
        """It is the one status whose meaning is in the body."""

        async def handle(connection: Connection) -> None:
            await connection.request()
            await connection.say(f"HTTP/1.1 409 Conflict\r\nContent-Length: 99\r\n\r\n{body}")

        [answer], _ = send(handle, POST)
        assert (answer.outcome, answer.status) == (outcome, 409)

    def test_interim_answers_are_not_the_answer(self) -> None:
        """However many; and the connection is kept."""

        async def handle(connection: Connection) -> None:
            while True:
                await connection.request()
                await connection.say("HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\n" * 3)
                await connection.answer(503)

        answers, server = send(handle, POST, PUT)
        assert [(answer.status, answer.retry_after_seconds) for answer in answers] == [(503, None)] * 2
        assert server.connections == 1

    def test_a_connection_is_kept_after_every_ordinary_answer(self) -> None:
        """With a length, in chunks, or without a body; not if the other side says that it ends."""
        said = iter(
            [
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\n{\r\n1\r\n}\r\n0\r\nX: x\r\n\r\n",
                "HTTP/1.1 204 No Content\r\n\r\n",
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
                "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
                "HTTP/1.1 200 OK\r\n\r\n{}",
            ]
        )

        async def handle(connection: Connection) -> None:
            while True:
                await connection.request()
                text = next(said)
                await connection.say(text)
                if text.endswith("OK\r\n\r\n{}"):
                    return

        answers, server = send(handle, *[POST] * 6)
        assert outcomes(answers) == [Outcome.DELIVERED] * 6
        assert [answer.text for answer in answers] == ["{}", "{}", "", "{}", "{}", "{}"]
        assert server.connections == 3

    @settings(max_examples=150, deadline=None)
    @given(pieces=answers_in_pieces())
    def test_whatever_bytes_come_back_nothing_escapes(self, pieces: list[bytes]) -> None:
        """A status line that is one decides; without one nobody knows."""

        async def handle(connection: Connection) -> None:
            await connection.request()
            for piece in pieces:
                await connection.say(piece)
                await asyncio.sleep(0)

        async def main() -> None:
            async with raw_server(handle) as server, client(server.url) as third_party:
                answer = await asyncio.wait_for(third_party.send(POST), PATIENT_SECONDS)
                looked_up = await asyncio.wait_for(third_party.lookup(7), PATIENT_SECONDS)
                line = re.match(
                    rb"(?:HTTP/1\.\d 1(?!01)\d\d(?: [^\n]*)?\n(?:[^\r\n][^\n]*\n)*\r?\n)*"
                    rb"HTTP/1\.\d ([1-9]\d\d)(?: [^\n]*|\r)?\n",
                    b"".join(pieces),
                )
                status = int(line[1]) if line else None
                assert answer.status == (None if status is not None and status < 200 and status != 101 else status)
                if answer.status is None:
                    assert answer.outcome is Outcome.IN_DOUBT
                    assert isinstance(looked_up, Answer)
                elif 200 <= answer.status < 300:
                    assert answer.outcome is Outcome.DELIVERED

        asyncio.run(main())


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
