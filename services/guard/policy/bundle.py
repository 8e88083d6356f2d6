"""A policy bundle: everything the guard decides by, pinned by the digest of the file it came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from services.guard.policy.leakage import PromptIndex
from services.guard.policy.terms import TermIndex
from services.guard.policy.topics import Topic
from services.guard.redaction.masking import TOKEN, Masking
from services.guard.redaction.table import Table
from services.guard.redaction.tokens import Tokens


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
    prompt_terms: TermIndex = field(repr=False)
    answer_terms: TermIndex = field(repr=False)
    prompt_index: PromptIndex = field(repr=False)  # what of the system prompt no answer may repeat

    def maskings_with(self, tokens: Tokens) -> Mapping[str, Masking]:
        """For a prompt: the classes whose mode is `token` get those of its conversation."""
        if not any(one.mode == TOKEN for one in self.maskings.values()):
            return self.maskings
        return {
            entity: replace(one, tokens=tokens) if one.mode == TOKEN else one for entity, one in self.maskings.items()
        }
