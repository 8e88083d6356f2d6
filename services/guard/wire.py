"""gRPC messages to the guard's own words and back."""

from __future__ import annotations

from collections.abc import Iterable

from strongroom.guard.v1 import guard_pb2 as pb

from chassis import genai
from services.guard.policy.open_filters import FilterKey, Piece
from services.guard.policy.output_filter import Filtered
from services.guard.policy.screening import Message, Screening, Verdict
from services.guard.redaction.finding import Finding
from services.guard.redaction.tokens import Tokens

VERDICTS = {
    Verdict.ALLOW: pb.VERDICT_ALLOW,
    Verdict.FLAG: pb.VERDICT_FLAG,
    Verdict.REFUSE: pb.VERDICT_REFUSE,
}

_NAMES = {number: verdict.value for verdict, number in VERDICTS.items()}


def messages_of(screen: pb.Screen) -> list[Message]:
    return [Message(message.role, message.content) for message in screen.messages]


def key_of(work: pb.Filter) -> FilterKey:
    """Unspecified is treated as content."""
    return FilterKey(work.request_id, work.choice, work.channel or pb.CHANNEL_CONTENT)


def tokens_of(key: bytes, screen: pb.Screen) -> Tokens:
    """Of a conversation; of the request alone where a gateway names none."""
    named = b"conversation " + screen.conversation if screen.conversation else b"request " + screen.request_id.encode()
    return Tokens(key, named)


def piece_of(work: pb.Filter) -> Piece:
    in_json = work.channel == pb.CHANNEL_TOOL_ARGUMENTS
    return Piece(work.n, work.text, work.last, work.rebuild, work.released_chars, in_json)


def screened(screening: Screening, policy_digest: bytes, texts: int) -> pb.Screened:
    judgement = screening.judgement
    decided = judgement.verdict is not Verdict.ALLOW
    return pb.Screened(
        verdict=VERDICTS[judgement.verdict],
        rule=judgement.rule if decided else "",
        stage=judgement.stage if decided else "",
        refusal_text=screening.refusal_text,
        messages=[pb.Message(role=message.role, content=message.content) for message in screening.messages],
        findings=[_finding(found.finding, found.message) for found in screening.findings],
        policy_digest=policy_digest,
        text_findings=[_finding(found.finding, found.message) for found in screening.unmasked],
        texts_screened=texts,
    )


def filtered(answer: Filtered) -> pb.Filtered:
    return pb.Filtered(
        text=answer.released,
        findings=findings(answer.findings),
        withheld=answer.withheld is not None,
        rule=answer.withheld or next(iter(answer.flagged), ""),
    )


def about_screening(work: pb.Screen, screened: pb.Screened) -> dict[str, str | int]:
    """What a span tells of a screening."""
    told: dict[str, str | int] = {
        genai.REQUEST_ID: work.request_id,
        genai.VERDICT: _NAMES[screened.verdict],
        genai.POLICY: screened.policy_digest.hex(),
        genai.FINDINGS: len(screened.findings),
    }
    return {**told, genai.RULE: screened.rule} if screened.rule else told


def about_filtering(work: pb.Filter, filtered: pb.Filtered) -> dict[str, str | int]:
    """What a span tells of a piece that was filtered."""
    told: dict[str, str | int] = {genai.REQUEST_ID: work.request_id, genai.FINDINGS: len(filtered.findings)}
    return {**told, genai.RULE: filtered.rule} if filtered.withheld else told


def findings(found: Iterable[Finding]) -> list[pb.Finding]:
    return [_finding(finding, 0) for finding in found]


def _finding(finding: Finding, message: int) -> pb.Finding:
    return pb.Finding(
        type=finding.entity,
        start=finding.start,
        end=finding.end,
        level=finding.level,
        message_index=message,
        rule=finding.rule,
        token=finding.token,
    )
