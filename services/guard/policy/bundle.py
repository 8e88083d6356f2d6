"""A policy bundle: everything the guard decides by, pinned by the digest of the file it came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from services.guard.redaction.masking import TOKEN, Masking
from services.guard.redaction.table import Table
from services.guard.redaction.tokens import Tokens

if TYPE_CHECKING:
    from services.guard.policy.leakage import PromptIndex
    from services.guard.policy.terms import TermIndex


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


@dataclass(frozen=True)
class PolicyBundle:
    """Made by `load_bundle` only, which checks it whole."""

    name: str
    version: str
    digest: bytes  # SHA-256 of `document`
    document: bytes = field(repr=False)
    system_prompt: str
    caller_instructions: str  # stands between our system prompt and the caller's system message
    refusal_texts: Mapping[str, str]  # by language: zh, en
    maskings: Mapping[str, Masking]  # by class of personal data
    table: Table = field(repr=False)  # of recognizers, the firm's own among them
    topics: tuple[Topic, ...] = field(repr=False)
    prompt_terms: "TermIndex" = field(repr=False)
    answer_terms: "TermIndex" = field(repr=False)
    prompt_index: "PromptIndex" = field(repr=False)  # what of the system prompt no answer may repeat

    def maskings_with(self, tokens: Tokens) -> Mapping[str, Masking]:
        """For a prompt: the classes whose mode is `token` get those of its conversation."""
        if not any(one.mode == TOKEN for one in self.maskings.values()):
            return self.maskings
        return {
            entity: replace(one, tokens=tokens) if one.mode == TOKEN else one for entity, one in self.maskings.items()
        }
