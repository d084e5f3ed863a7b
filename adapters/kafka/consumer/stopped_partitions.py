"""The partitions that stand still because messages may be lost: told once, and looked at again."""

import time
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from adapters.kafka.consumer.assignment import Key
from domain.losses import NOT_THERE, StoppedPartition
from domain.ports import Loss

LOOK_AGAIN_SECONDS: Final = 5.0

log = structlog.get_logger(__name__)


class StoppedPartitions:
    """`tell` gets a partition's name and why it stands still; None if it doesn't any more, or isn't ours."""

    def __init__(self, tell: Callable[[str, StoppedPartition | None], None]) -> None:
        self._report = tell
        self._stops: dict[Key, StoppedPartition] = {}
        self._look_at = 0.0

    def note(self, key: Key, stop: StoppedPartition) -> None:
        known = self._stops.get(key)
        if known is not None and known.loss is stop.loss:
            return
        self._stops[key] = stop
        self._look_at = time.monotonic() + LOOK_AGAIN_SECONDS
        self._report(_name(key), stop)
        log.error(
            "partition stopped: messages may be lost",
            partition=_name(key),
            error=stop.loss.value,
            detail=stop.detail,
            accept=f"python app.py accept-loss {key[0]}",
        )

    def resume(self, keys: Iterable[Key]) -> None:
        for key in self._removed(keys):
            log.info("partition resumed", partition=_name(key))

    def revoked(self, keys: Iterable[Key] | None = None) -> None:
        """All of them, unless told. A deleted topic's partitions belong to nobody, so everybody tells of them."""
        self._removed(key for key in (self._stops if keys is None else keys) if not self._is_gone(key))

    def topic_has_gone(self, topic: str, numbers: Iterable[int]) -> None:
        """The partitions of a deleted topic that have positions; no topic is gone that has none."""
        gone = {(topic, number) for number in numbers}
        for key in sorted(gone):
            self.note(key, StoppedPartition(Loss.TOPIC_DELETED, NOT_THERE))
        self._removed(key for key in self._stops if key[0] == topic and key not in gone)

    def topic_is_there(self, topic: str) -> None:
        self._removed(key for key in self._stops if key[0] == topic and self._is_gone(key))

    def due(self, now: float) -> set[Key]:
        """The partitions of ours to look at again, every LOOK_AGAIN_SECONDS: the loss may be accepted by now."""
        if now < self._look_at:
            return set()
        self._look_at = now + LOOK_AGAIN_SECONDS
        return {key for key in self._stops if not self._is_gone(key)}

    def _is_gone(self, key: Key) -> bool:
        return key in self._stops and self._stops[key].loss is Loss.TOPIC_DELETED

    def _removed(self, keys: Iterable[Key]) -> list[Key]:
        removed = [key for key in list(keys) if self._stops.pop(key, None) is not None]
        for key in removed:
            self._report(_name(key), None)
        return removed


def _name(key: Key) -> str:
    return f"{key[0]}/{key[1]}"
