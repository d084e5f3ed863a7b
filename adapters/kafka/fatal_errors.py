"""What a client says when it can never be used again."""

from types import TracebackType

from confluent_kafka import KafkaError, KafkaException


class FatalErrors:
    """Within it, confluent-kafka's fatal errors are KafkaExceptions.

    From poll and flush it may raise a bare KafkaError, which is no exception: no `except` with a name catches it,
    and a thread of an executor dies of it without an answer. Each callback that is called after that makes a
    SystemError of what was raised before.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: TracebackType | None) -> None:
        fatal = error
        while isinstance(fatal, SystemError):
            fatal = fatal.__cause__
        if isinstance(fatal, KafkaError):
            raise KafkaException(fatal) from None
        if isinstance(error, SystemError):
            raise fatal if isinstance(fatal, KafkaException) else KafkaException(_unknown(error)) from error


def _unknown(error: SystemError) -> KafkaError:
    return KafkaError(KafkaError._FATAL, str(error))  # noqa: SLF001 - the name that librdkafka gives it
