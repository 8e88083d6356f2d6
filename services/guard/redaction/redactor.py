"""Masks personal data in a text that arrives in pieces, exactly as it would in the whole text."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from services.guard.redaction import card, email, mobile
from services.guard.redaction.characters import IGNORED, classify, unfinished
from services.guard.redaction.digits import LONG_RUN
from services.guard.redaction.email import EmailDetector
from services.guard.redaction.finding import Detector, Finding, Span, Window
from services.guard.redaction.masking import Masking
from services.guard.redaction.numbers import NumberDetector

ENTITIES = (mobile.ENTITY, card.ENTITY, email.ENTITY)

MEMORY = 64  # characters kept behind the cursor: what detectors may look back at


class Redaction(NamedTuple):
    """A text with its personal data masked, and where that was, in characters of the original. `mask_ends` has for
    each finding how many characters of `text` reach to the end of its mask."""

    text: str
    findings: tuple[Finding, ...]
    mask_ends: tuple[int, ...]


class Redactor:
    """Every decision falls at a position that the text gives: detectors only decide what no further text can change.

    So any way of cutting a text into pieces gives the same output. Memory holds MEMORY characters and what is still
    undecided, which the detectors' bounds limit."""

    def __init__(self, maskings: Mapping[str, Masking]) -> None:
        self._maskings = maskings
        self._detectors: Sequence[Detector] = (
            NumberDetector(maskings[mobile.ENTITY], maskings[card.ENTITY]),
            EmailDetector(maskings[email.ENTITY]),
        )
        self._offset = 0  # position in the whole text of the window's first character
        self._text = self._kinds = ""
        self._unclassified = ""
        self._cursor = 0  # in the window: everything before has been emitted
        self._spans: list[Span] = []  # in positions of the whole text, in order, not yet emitted
        self._done_to = 0  # end of the last span emitted

    @property
    def received(self) -> int:
        return self._offset + len(self._text) + len(self._unclassified)

    @property
    def _settled(self) -> int:
        return min([detector.settled for detector in self._detectors])

    def push(self, text: str) -> None:
        """Takes more text. An escape that is not complete waits for its rest."""
        text = self._unclassified + text
        waiting = unfinished(text)
        self._unclassified = text[len(text) - waiting :]
        self._take(text[: len(text) - waiting], ended=False)

    def end(self) -> None:
        """There is no more text: everything becomes decidable."""
        waiting, self._unclassified = self._unclassified, ""
        self._take(waiting, ended=True)

    def _take(self, text: str, *, ended: bool) -> None:
        self._text += text
        self._kinds += classify(text)
        window = Window(self._text, self._kinds, ended)
        found = [span for detector in self._detectors for span in detector.advance(window)]
        if found:
            self._spans += (_moved(span, self._offset) for span in found)
            self._spans.sort(key=lambda span: (span.start, -span.end))

    def emit(self, limit: int) -> Redaction:
        """What is decided and starts before position `limit` of the whole text, masked; a match never comes in part."""
        limit = min(limit, self._offset + self._settled)
        if not self._spans:  # most pieces
            plain = self._raw_to(limit)
            self._trim()
            return Redaction(plain, (), ())
        released: list[str] = []
        findings: list[Finding] = []
        mask_ends: list[int] = []
        for cluster in self._clusters(limit):
            if cluster[-1].end > limit:
                limit = min(limit, cluster[0].start)
                break
            del self._spans[: len(cluster)]
            for span in _without_overlap(cluster, self._done_to):
                released += (self._raw_to(span.start), span.mask)
                self._cursor = max(self._cursor, span.end - self._offset)
                self._done_to = span.end
                if span.complete:
                    level = self._maskings[span.entity].level
                    findings.append(Finding(span.entity, span.origin, span.end, level, span.rule))
                    mask_ends.append(sum(map(len, released)))
        released.append(self._raw_to(limit))
        self._trim()
        return Redaction("".join(released), tuple(findings), tuple(mask_ends))

    def _clusters(self, limit: int) -> list[list[Span]]:
        """Spans that overlap, together; all that start before `limit` are known by now. Only the very last span may
        reach over it."""
        clusters: list[list[Span]] = []
        reach = -1
        for span in self._spans:
            if span.start >= limit:
                break
            if clusters and span.start < reach:
                clusters[-1].append(span)
            else:
                clusters.append([span])
            if span.end > limit:
                break
            reach = max(reach, span.end)
        return clusters

    def _raw_to(self, position: int) -> str:
        start, self._cursor = self._cursor, max(self._cursor, position - self._offset)
        return self._text[start : self._cursor]

    def _trim(self) -> None:
        excess = min(self._cursor, self._settled) - MEMORY
        if excess <= MEMORY:  # seldom enough that copying costs nothing
            return
        self._text, self._kinds = self._text[excess:], self._kinds[excess:]
        self._offset += excess
        self._cursor -= excess
        for detector in self._detectors:
            detector.shift(excess)


def _possible(kinds: str) -> bool:
    """Whether a whole text may have personal data in it; False is certain: no @, no run of digits that is long enough,
    and nothing invisible, which would count against its own bound."""
    return "@" in kinds or IGNORED in kinds or LONG_RUN.search(kinds) is not None


def _moved(span: Span, by: int) -> Span:
    return Span(span.entity, span.start + by, span.end + by, span.mask, span.rule, span.origin + by, span.complete)


def _without_overlap(cluster: Sequence[Span], after: int) -> list[Span]:
    """In order: a span inside an earlier one is dropped, one that reaches over its end begins there."""
    kept: list[Span] = []
    for span in cluster:
        start = max(span.start, after)
        if span.end > start:
            origin = span.origin if span.origin < span.start else start
            kept.append(Span(span.entity, start, span.end, span.mask, span.rule, origin, span.complete))
            after = max(after, span.end)
    return kept


def redact(maskings: Mapping[str, Masking], text: str) -> Redaction:
    """By definition the stream fed in one piece."""
    if not _possible(classify(text)):
        return Redaction(text, (), ())
    redactor = Redactor(maskings)
    redactor.push(text)
    redactor.end()
    return redactor.emit(len(text))
