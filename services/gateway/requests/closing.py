"""How a record ends: an END is written of everything that was accepted, whatever audit does not take of it."""

from __future__ import annotations

from chassis.failures import ServiceError
from services.gateway.requests import fields
from services.gateway.requests.answer import Answer
from services.gateway.requests.choice import Choice
from services.gateway.requests.endings import ANSWER_TOO_LARGE, answer_too_large
from services.gateway.requests.neighbours import Audit
from services.gateway.requests.outcome import FAILED, End, Finding
from services.gateway.requests.reasoning import Parts

_NOT_TAKEN = "ITEM_TOO_LARGE"  # by audit; the stream to it puts its name before


class Closing:
    """The END of one request, with what was generated and released, as far as audit takes it."""

    def __init__(self, audit: Audit, request_id: str, answer: Answer | None, findings: tuple[Finding, ...]) -> None:
        """`findings`: in prompt and answer."""
        self._audit, self._request_id, self._answer, self._found = audit, request_id, answer, findings

    async def end(self, end: End, *, whole: bool) -> str:
        """The receipt, and before it the last text of an answer that is `whole`. Raises what is wrong with the record;
        ANSWER_TOO_LARGE: it has ended, without the answer."""
        try:
            if whole and self._answer:
                return await self._part(end, self._answer)
            return await self._append(end)
        except ServiceError as refused:
            if not _too_large(refused):
                raise
        await self._end_without_answer()
        raise answer_too_large()

    async def _part(self, end: End, answer: Answer) -> str:
        """A whole answer's END holds only behind all its releases."""
        ended = self._audit.end(self._request_id, end, self._usage, answer.releases, self._fields(end))
        try:
            await answer.part()
        except ServiceError as refused:  # so the END was refused too: the record ends as what it is
            await self._append(End(FAILED, refused.reason))
            raise
        return await ended

    async def _append(self, end: End) -> str:
        return await self._audit.end(self._request_id, end, self._usage, None, self._fields(end))

    async def _end_without_answer(self) -> None:
        failed = End(FAILED, ANSWER_TOO_LARGE)
        found = {"findings": fields.findings(self._found)}
        try:
            await self._audit.end(self._request_id, failed, self._usage, None, found)
        except ServiceError as refused:
            if not _too_large(refused):
                raise
            await self._audit.end(self._request_id, failed, self._usage, None, {})

    def _fields(self, end: End) -> dict[str, bytes]:
        choices, generation = self._answer.choices if self._answer else [], None
        if self._answer:
            generation = fields.generation(self._answer.made)
        return {
            "answer_generated": fields.answer(_said(one, one.generated, end) for one in choices),
            "answer_released": fields.answer(_said(one, one.released, end) for one in choices),
            "findings": fields.findings((*self._found, *(self._answer.restored if self._answer else ()))),
            **({"generation": generation} if generation else {}),
        }

    @property
    def _usage(self) -> tuple[int, int]:
        return self._answer.usage if self._answer else (0, 0)


def _too_large(refused: ServiceError) -> bool:
    return refused.reason.endswith(_NOT_TAKEN)


def _said(choice: Choice, parts: Parts, end: End) -> fields.Said:
    """A request that did not end by its answer has no finish reason, whatever of it was whole."""
    return fields.Said(parts.content, choice.finish if end.finish_reason else "", parts.reasoning)
