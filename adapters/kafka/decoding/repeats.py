"""Members that stand twice in one JSON object: of two amounts nobody can tell which one is paid.

JSON allows it, and readers keep the last, the first or none. What we pay by must stand there once; a member that we
don't know may stand there as often as it likes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from adapters.kafka.decoding import canonical_json
from adapters.kafka.decoding.canonical_json import Members
from adapters.kafka.decoding.cloudevents import EVENT_MEMBERS
from adapters.kafka.decoding.schema import ITEMS, PRODUCT, PRODUCT_MEMBERS, WIRE_TYPES, members_of
from domain.messages import Kind

_ESCAPED: Final = b"\\u003"
_ENVELOPE_MEMBERS: Final = frozenset({"type", "payload"})
_ITEM_MEMBERS: Final = frozenset({PRODUCT})
_PAYLOAD_MEMBERS: Final = {kind: members_of(model) for kind, model in WIRE_TYPES.items()}


def may_be_there(json: bytes, whole: Mapping[str, Any], path: Sequence[str], colons: int, date: object) -> bool:
    """False if no member stands twice in any object of the JSON, and nobody needs to read it again.

    Each member has a colon. `whole` is what the JSON says, `path` leads to its payload, and `colons` is how many
    more the JSON has than that payload written anew without its `date`, where each member stands once. If the date
    and what stands beside the payload account for them, there are no more members. (Unless a colon in a text is
    written as an escape, and doesn't count.)
    """
    if isinstance(date, str):
        colons -= date.count(":")
    level = whole
    for name in path:
        colons -= len(level)
        level = level[name]
    is_accounted_for = not colons or colons == _strange_colons(whole, path)
    return not is_accounted_for or (b"\\" in json and _ESCAPED in json)


def find(json: bytes, path: Sequence[str], kind: Kind) -> str | None:
    """The first member that we go by and that stands there more than once, by its path; None if there is none.

    The JSON holds a valid message, with its payload at the end of `path`.
    """
    return next(_repeated(canonical_json.read_members(json), path, kind), None)


def _strange_colons(whole: Mapping[str, Any], path: Sequence[str]) -> int:
    """Within the members that stand beside the payload, and those beside what leads to it."""
    colons, level = 0, whole
    for name in path:
        colons += _colons(each for other, each in level.items() if other != name)
        level = level[name]
    return colons


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
