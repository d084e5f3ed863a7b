"""Why librdkafka has given a producer up, where its exception didn't come through."""

import pytest

from adapters.kafka.producer import publisher
from adapters.kafka.producer.publisher import Publisher, PublishError
from adapters.records.publishing import Outgoing
from sandbox.servers.free_port import LOOPBACK

SAID = (
    "FATAL",
    "rdkafka#producer-1",
    "[thrd:main]: Fatal error: Broker: Cluster authorization failed: no producer id",
)


class GivenUp:
    """A client whose exception was lost to a callback that came behind it, as confluent-kafka then tells."""

    def __init__(self, settings: dict[str, object]) -> None:
        self._logger = settings["logger"]

    def produce(self, *_: object, **__: object) -> None:
        pass

    def poll(self, _: float) -> int:
        return 0

    def flush(self, _: float) -> int:
        self._logger.log(0, "%s [%s] %s", *SAID)  # type: ignore[attr-defined]  # whatever was given
        raise SystemError("<built-in method flush> returned NULL without setting an exception")

    def purge(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_the_reason_that_was_lost_is_the_one_that_was_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And the line isn't logged besides: each message's error has it."""
    monkeypatch.setattr(publisher, "Producer", GivenUp)
    sending = Publisher(f"{LOOPBACK}:1")
    sending.publish(Outgoing("orders", b"1", b"{}"))
    with pytest.raises(PublishError, match="Broker: Cluster authorization failed: no producer id"):
        sending.flush(1.0)
    with pytest.raises(PublishError, match="Cluster authorization failed"):
        sending.publish(Outgoing("orders", b"2", b"{}"))
    sending.close()
    assert caplog.text == ""
