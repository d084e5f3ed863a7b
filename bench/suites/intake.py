"""Intake, from Kafka to committed in PostgreSQL."""

from functools import partial
from itertools import islice
from typing import Final

from bench import messages
from bench.arithmetic import Figure
from bench.laboratory import PARTITIONS, Laboratory
from bench.reading import FullTopic, copy_once, read_once
from bench.scales import SMOKE
from bench.stores import stored_beside, tidy

NAME: Final = "intake"
TITLE: Final = "Intake"
ABOUT: Final = (
    "One process reads a full topic of six partitions, decides, and commits events and positions. The orders have"
    " about four goods, a CREATED about 1 kB. The ceiling is the same client over the same records with a bare JSON"
    " parse (Python's own) and a COPY of as many bytes as intake stores, with the offsets in the same transaction:"
    " it decides nothing and keeps no index. (Beside what was received, intake stores almost as much again: what"
    " was decided, the digest, the coordinates, the headers. A lower reference copies none of that.) New orders:"
    " the CREATED of each. Existing orders: the second message of each, for orders that are in the store; cold:"
    " none of them is in memory, warm: all are. Each measurement has a process of its own."
)
_CEILING: Final = "ceiling: the same client, bare JSON parse, COPY"
_BARE: Final = "the same, but a COPY of the received bytes alone"
_UNIT: Final = "messages/s"

NEW: Final = Figure("intake-new", "intake of new orders", _CEILING, _UNIT, 0.35, 0.5)
BARE: Final = Figure("intake-new-bare", "intake of new orders", _BARE, _UNIT)
MIXED: Final = Figure("intake-lifecycles", "intake of whole lifecycles", _CEILING, _UNIT)
COLD: Final = Figure("intake-existing-cold", "intake, existing orders, cold cache", _CEILING, _UNIT, 0.2, 0.35)
WARM: Final = Figure("intake-existing-warm", "intake, existing orders, warm cache", _CEILING, _UNIT, 0.3, 0.45)


def run(lab: Laboratory) -> None:
    sent = messages.creations(lab.scale.new_messages)[0]
    new, beside = _topic(lab, sent), stored_beside(sent[0])
    created, following = (_topic(lab, sent) for sent in messages.creations(lab.scale.intake_messages))
    mixed = _topic(lab, list(islice(messages.whole_lifecycles(), lab.scale.new_messages)))
    ceiling = partial(_ceiling, lab, beside=beside)
    lab.compare(NEW, partial(_ours, lab, new), partial(ceiling, new))
    if lab.scale is not SMOKE:
        lab.compare(BARE, partial(_ours, lab, new), partial(_ceiling, lab, new, beside=b""))
        lab.compare(MIXED, partial(_ours, lab, mixed), partial(ceiling, mixed))
    with lab.database() as filled:
        read_once(lab.folder, filled, [created])
        tidy(filled)
        lab.compare(COLD, partial(_ours, lab, following, filled), partial(ceiling, following))
    lab.compare(WARM, partial(_warm, lab, created, following), partial(ceiling, following))


def _topic(lab: Laboratory, sent: list[messages.TopicMessage]) -> FullTopic:
    name = lab.topic(PARTITIONS)
    messages.publish(lab.bootstrap, name, sent)
    return FullTopic(lab.bootstrap, lab.kafka_config, name, len(sent), PARTITIONS)


def _ours(lab: Laboratory, topic: FullTopic, template: str | None = None) -> float:
    with lab.database(template=template) as url:
        return read_once(lab.folder, url, [topic])


def _warm(lab: Laboratory, created: FullTopic, following: FullTopic) -> float:
    with lab.database() as url:
        topics = [created, following]
        return read_once(lab.folder, url, topics, cached_orders=lab.scale.intake_messages)


def _ceiling(lab: Laboratory, topic: FullTopic, *, beside: bytes) -> float:
    with lab.database(empty=True) as url:
        return copy_once(lab.folder, url, topic, beside)
