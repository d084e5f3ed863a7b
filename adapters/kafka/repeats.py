"""Members that stand twice in one JSON object: of two amounts nobody can tell which one is paid.

JSON allows it, and readers keep the last, the first or none. What we pay by must stand there once; a member that we
don't know may stand there as often as it likes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from adapters.kafka import canonical
from adapters.kafka.canonical import Members
from adapters.kafka.cloudevents import EVENT_MEMBERS
from adapters.kafka.wire import ITEMS, PRODUCT, PRODUCT_MEMBERS, WIRE_TYPES, members_of
from domain.messages import Kind

_ENVELOPE_MEMBERS: Final = frozenset({"type", "payload"})
_WAY: Final = frozenset({"data", "payload"})
_ITEM_MEMBERS: Final = frozenset({PRODUCT})
_PAYLOAD_MEMBERS: Final = {kind: members_of(model) for kind, model in WIRE_TYPES.items()}


def find(json: bytes, whole: Mapping[str, Any], path: Sequence[str], kind: Kind, colons: int) -> str | None:
    """The first member that we go by and that stands there more than once, by its path; None if there is none.

    `whole` is what the JSON says, a valid message with its payload at the end of `path`; `colons` is the number of
    colons in the JSON. Each member has one: where all of them are accounted for, no member stands there twice, and
    nobody needs to read the JSON again. (Unless a backslash hides a colon in a text.)
    """
    if b"\\" not in json:
        levels = [whole]
        for name in path:
            levels.append(levels[-1][name])
        usual = _usual_colons(levels, kind)
        if colons == usual or colons == usual + _strange_colons(levels) or colons == _colons((whole,)):
            return None
    return next(_repeated(canonical.read_members(json), path, kind), None)


def _usual_colons(levels: Sequence[Mapping[str, Any]], kind: Kind) -> int:
    """Of the members down to those of the product items, and in the date."""
    payload = levels[-1]
    date = payload["transactionDate"]
    colons = sum(map(len, levels)) + (date.count(":") if isinstance(date, str) else 0)
    if not kind.is_end:
        for item in payload[ITEMS]:
            colons += len(item) + len(item[PRODUCT])
    return colons


def _strange_colons(levels: Sequence[Mapping[str, Any]]) -> int:
    """In objects of which we know nothing."""
    return _colons(
        each for level in levels for name, each in level.items() if each.__class__ is dict and name not in _WAY
    )


def _colons(values: Iterable[Any]) -> int:
    """What JSON of these values needs, and what stands in their texts."""
    colons = 0
    for each in values:
        kind = each.__class__
        if kind is str:
            if ":" in each:
                colons += each.count(":")
        elif kind is dict:
            colons += len(each) + _colons(each.values())
        elif kind is list:
            colons += _colons(each)
    return colons


def _repeated(whole: Members, path: Sequence[str], kind: Kind) -> Iterator[str]:
    here, way = whole, ""
    for name in path:
        yield from _named(way, here, EVENT_MEMBERS if name == "data" else _ENVELOPE_MEMBERS)
        here, way = here[name], f"{way}{name}."
    yield from _named("payload.", here, _PAYLOAD_MEMBERS[kind])
    if kind.is_end:
        return
    for number, item in enumerate(here[ITEMS]):
        way = f"payload.{ITEMS}.{number}."
        yield from _named(way, item, _ITEM_MEMBERS)
        yield from _named(f"{way}{PRODUCT}.", item[PRODUCT], PRODUCT_MEMBERS)


def _named(way: str, members: Members, known: AbstractSet[str]) -> Iterator[str]:
    return (way + name for name in sorted(members.repeated & known))
