"""What the finders of names and addresses hand on, and how the answers of several become one."""

from collections.abc import Iterable
from typing import NamedTuple

PERSON, ADDRESS = "PERSON", "ADDRESS"
LOOK_AHEAD = 16  # characters after a candidate's first one that may decide about it where text arrives in pieces


class Entity(NamedTuple):
    kind: str
    start: int
    end: int


def without_overlap(entities: Iterable[Entity]) -> list[Entity]:
    """In order; of two that overlap the one that begins first stays, of two that begin together the longer one."""
    kept: list[Entity] = []
    for entity in sorted(entities, key=lambda entity: (entity.start, -entity.end)):
        if not kept or entity.start >= kept[-1].end:
            kept.append(entity)
    return kept
