"""Judges a prompt, and composes the messages that a model may see."""

import re
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from services.guard.policy.bundle import PolicyBundle
from services.guard.policy.folding import squeeze
from services.guard.policy.scan import TopicHit, TopicScan
from services.guard.policy.terms import TermIndex
from services.guard.policy.topics import Action
from services.guard.redaction.characters import IDEOGRAPHIC
from services.guard.redaction.finding import Finding
from services.guard.redaction.redactor import redact_prompt
from services.guard.redaction.tokens import Tokens

ROLES = ("system", "user", "assistant")
CHINESE_SHARE = 0.2  # of the letters; an ideograph says as much as an English word


_IDEOGRAPHS = re.compile(f"[{IDEOGRAPHIC}]+")


class Verdict(Enum):
    ALLOW = "ALLOW"
    FLAG = "FLAG"
    REFUSE = "REFUSE"


class Message(NamedTuple):
    role: str
    content: str


class Judgement(NamedTuple):
    """`rule` and `stage` are those of the strongest hit; empty where there is none."""

    verdict: Verdict
    score: float = 0.0
    rule: str = ""
    stage: str = ""


_UNREMARKABLE = Judgement(Verdict.ALLOW)


class MessageFinding(NamedTuple):
    message: int  # index of the message as the caller sent it
    finding: Finding


class Screening(NamedTuple):
    """A verdict on a prompt. `messages` is what a model may see, and is empty with REFUSE."""

    judgement: Judgement
    language: str
    refusal_text: str
    findings: tuple[MessageFinding, ...]
    messages: tuple[Message, ...]
    unmasked: tuple[MessageFinding, ...] = ()  # in the texts beside the messages, by their index


class UnfitMessages(Exception):
    """The messages are no conversation. The text says where, and quotes nothing."""


def screen(
    bundle: PolicyBundle, messages: Sequence[Message], beside: Sequence[str] = (), tokens: Tokens | None = None
) -> Screening:
    """Every message comes from the caller, so every one is judged and redacted, a system message too.

    `beside`: texts of the caller's that shape the answer, such as a grammar's. Masked they would ask for something
    else, so what there is to mask in them is told instead.
    """
    _check(messages)
    texts = [*(message.content for message in messages), *beside]
    judgement = _strongest([judge(bundle.prompt_terms, text) for text in texts])
    maskings = bundle.maskings if tokens is None else bundle.maskings_with(tokens)
    redactions = [redact_prompt(maskings, message.content, bundle.table) for message in messages]
    findings = tuple(
        MessageFinding(index, finding) for index, redaction in enumerate(redactions) for finding in redaction.findings
    )
    language = language_of(messages)
    if judgement.verdict is Verdict.REFUSE:
        return Screening(judgement, language, bundle.refusal_texts[language], findings, ())
    redacted = [Message(m.role, r.text) for m, r in zip(messages, redactions, strict=True)]
    unmasked = tuple(
        MessageFinding(index, finding)
        for index, text in enumerate(beside)
        for finding in redact_prompt(bundle.maskings, text, bundle.table).findings
    )
    return Screening(judgement, language, "", findings, compose(bundle, redacted), unmasked)


def compose(bundle: PolicyBundle, messages: Sequence[Message]) -> tuple[Message, ...]:
    """One system message, ours first; the caller's own, wherever it stood, follows behind the dividing words."""
    theirs = [message.content for message in messages if message.role == "system" and message.content.strip()]
    parts = [bundle.system_prompt]
    if theirs:
        parts += [bundle.caller_instructions, *theirs]
    rest = (message for message in messages if message.role != "system")
    return (Message("system", "\n\n".join(parts)), *rest)


def judge(terms: TermIndex, text: str) -> Judgement:
    if not terms.possible(squeeze(text)):  # most texts by far
        return _UNREMARKABLE
    scan = TopicScan(terms)
    hits = scan.feed(text) + scan.finish()
    return _strongest([_of_hit(hit) for hit in hits])


def _of_hit(hit: TopicHit) -> Judgement:
    action = hit.rule.topic.action
    verdict = (Verdict.REFUSE if action is Action.REFUSE else Verdict.FLAG) if hit.counts else Verdict.ALLOW
    return Judgement(verdict, hit.rule.source.score, hit.rule.source.rule, hit.rule.stage)


_STRENGTH = {Verdict.ALLOW: 0, Verdict.FLAG: 1, Verdict.REFUSE: 2}


def _strongest(judgements: Sequence[Judgement]) -> Judgement:
    """The severest verdict, and among those the highest score; the first of equals."""
    return max(judgements, key=lambda one: (_STRENGTH[one.verdict], one.score), default=_UNREMARKABLE)


def language_of(messages: Sequence[Message]) -> str:
    """zh or en, by the last thing the user said."""
    last = next((message.content for message in reversed(messages) if message.role == "user"), "")
    letters = "" if last.isascii() else "".join(filter(str.isalpha, last))
    chinese = len(letters) - len(_IDEOGRAPHS.sub("", letters))
    return "zh" if letters and chinese / len(letters) >= CHINESE_SHARE else "en"


def _check(messages: Sequence[Message]) -> None:
    if not messages:
        raise UnfitMessages("messages: there are none; send at least one user message")
    for index, message in enumerate(messages):
        if message.role not in ROLES:
            raise UnfitMessages(f"messages[{index}].role: is none of {', '.join(ROLES)}; use one of them")
    if not any(message.role == "user" and message.content.strip() for message in messages):
        raise UnfitMessages("messages: no user message has text; send at least one")
