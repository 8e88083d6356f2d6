"""What a policy refuses or flags: topics, and the words and combinations of words by which they are known."""

from dataclasses import dataclass
from enum import Enum


class Action(Enum):
    """What a topic does about text that reaches its threshold."""

    REFUSE = "refuse"
    FLAG = "flag"


class Direction(Enum):
    """Which texts a topic is about."""

    PROMPT = "prompt"
    ANSWER = "answer"
    BOTH = "both"

    def covers(self, other: "Direction") -> bool:
        return self is other or self is Direction.BOTH


@dataclass(frozen=True)
class WordList:
    """Words each of which is enough by itself."""

    rule: str
    words: tuple[str, ...]
    score: float
    direction: Direction


@dataclass(frozen=True)
class Combination:
    """Words that count only together: one of each group, at most `within` characters apart, none of `unless` near."""

    rule: str
    groups: tuple[tuple[str, ...], ...]
    unless: tuple[str, ...]
    within: int
    ordered: bool
    score: float
    direction: Direction


@dataclass(frozen=True)
class Topic:
    name: str
    action: Action
    direction: Direction
    threshold: float
    lists: tuple[WordList, ...]
    combinations: tuple[Combination, ...]
