"""What the finders of names and addresses hand on, and how the answers of several become one."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Final, NamedTuple

PERSON, ADDRESS = "PERSON", "ADDRESS"
LOOK_AHEAD: Final = 16  # characters after a candidate's first one that may decide about it where text arrives in pieces


class Entity(NamedTuple):
    kind: str
    start: int
    end: int


NONE_GROWS: Final = -1


class Reader(ABC):
    """Reads a text from left to right. `growing`: where an entity begins that may still grow. `free_to`: nothing begins
    before it in what is read again."""

    def __init__(self) -> None:
        self.growing = NONE_GROWS
        self.free_to = 0

    @abstractmethod
    def read(self, text: str, start: int, ended: bool) -> tuple[list[Entity], int]:
        """The entities that are decided, and up to where the text is."""

    def shift(self, count: int) -> None:
        """The text's first `count` characters are gone."""
        if self.growing != NONE_GROWS:
            self.growing -= count


def without_overlap(entities: Iterable[Entity]) -> list[Entity]:
    """In order; of two that overlap the one that begins first stays, of two that begin together the longer one."""
    kept: list[Entity] = []
    for entity in sorted(entities, key=lambda entity: (entity.start, -entity.end)):
        if not kept or entity.start >= kept[-1].end:
            kept.append(entity)
    return kept
