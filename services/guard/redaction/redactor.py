"""Masks personal data in a text that arrives in pieces, exactly as it would in the whole text."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from services.guard.redaction.classes import ENTITIES
from services.guard.redaction.finding import LOOK_BACK, Detector, Finding, Span
from services.guard.redaction.masking import Masking
from services.guard.redaction.named.detector import CLASSES, WholeText, detectors
from services.guard.redaction.named.model import load
from services.guard.redaction.recognizers import TABLE
from services.guard.redaction.stretches import Stretches
from services.guard.redaction.table import Table
from services.guard.redaction.window import Window

__all__ = ["ENTITIES", "Redaction", "Redactor", "redact", "redact_prompt"]


def _by_place(span: Span) -> tuple[int, int]:
    return span.start, -span.end


class Mask(NamedTuple):
    """Characters [start, end) of the masked text, and those of the original in whose place they stand. `finding`: once
    all of what it masks is read."""

    start: int
    end: int
    raw: str
    finding: Finding | None

    def __repr__(self) -> str:
        """Where, never what: it may come into a log."""
        return f"Mask({self.start}, {self.end})"


class Redaction(NamedTuple):
    """A text with its personal data masked, and where that was, in characters of the original. `mask_ends` has for
    each finding how many characters of `text` reach to the end of its mask."""

    text: str
    findings: tuple[Finding, ...]
    mask_ends: tuple[int, ...]
    masks: tuple[Mask, ...] = ()


class _Emitted:
    """What one `emit` gives, while it is put together."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._written = 0  # characters in `texts`
        self._masks: list[Mask] = []

    def add(self, plain: str, mask: str, raw: str, finding: Finding | None) -> None:
        self.texts += (plain, mask)
        start = self._written + len(plain)
        self._written = start + len(mask)
        self._masks.append(Mask(start, self._written, raw, finding))

    def redaction(self) -> Redaction:
        done = [mask for mask in self._masks if mask.finding is not None]
        findings = tuple([mask.finding for mask in done if mask.finding is not None])
        return Redaction("".join(self.texts), findings, tuple([mask.end for mask in done]), tuple(self._masks))


class Redactor:
    """Every decision falls at a position that the text gives: detectors only decide what no further text can change.

    So any way of cutting a text into pieces gives the same output. Memory holds LOOK_BACK characters and what is still
    undecided, which the detectors' bounds limit."""

    def __init__(self, maskings: Mapping[str, Masking], table: Table = TABLE, *, whole: bool = False) -> None:
        """`whole`: the text comes in one piece, so that names and addresses are decided by all of it."""
        self._maskings = maskings
        named: list[Detector] = []
        if maskings.keys() >= set(CLASSES.values()):  # a class of one's own is tried alone
            named = [WholeText(load())] if whole else detectors(load())
        self._detectors: list[Detector] = [Stretches(table), *named]
        self._window = Window()
        self._cursor = 0  # in the whole text: everything before has been emitted
        self._spans: list[Span] = []  # in positions of the whole text, in order, not yet emitted
        self._done_to = 0  # end of the last span emitted

    @property
    def received(self) -> int:
        return self._window.received

    @property
    def size(self) -> int:
        """Characters and spans in memory."""
        return self._window.size + len(self._spans)

    @property
    def _settled(self) -> int:
        detectors = self._detectors
        settled = detectors[0].settled
        for detector in detectors:
            if detector.settled < settled:
                settled = detector.settled
        return settled

    def push(self, text: str) -> None:
        """Takes more text. An escape that is not complete waits for its rest."""
        self._window.take(text)
        self._advance()

    def end(self) -> None:
        """There is no more text: everything becomes decidable."""
        self._window.end()
        self._advance()

    def _advance(self) -> None:
        window, spans = self._window, self._spans
        known = len(spans)
        for detector in self._detectors:
            spans += detector.advance(window)
        if len(spans) == known:  # most pieces
            return
        if window.shift != 0:
            spans[known:] = [_placed(span, window) for span in spans[known:]]
        if len(spans) > 1:
            spans.sort(key=_by_place)

    def emit(self, limit: int) -> Redaction:
        """What is decided and starts before position `limit` of the whole text, masked; a match never comes in part."""
        window, settled = self._window, self._settled
        if not self._spans:
            return Redaction(self.emit_plain(limit), (), ())
        limit = min(limit, window.received if window.ended else window.raw_end(settled))
        emitted = _Emitted()
        taken = 0  # spans that are done with
        for cluster in self._clusters(limit):
            if cluster[-1].end > limit:
                limit = min(limit, cluster[0].start)
                break
            taken += len(cluster)
            if len(cluster) > 1 or cluster[0].start < self._done_to:
                cluster = _without_overlap(cluster, self._done_to)
            for span in cluster:
                self._mask(span, emitted)
        del self._spans[:taken]
        emitted.texts.append(self._raw_to(limit))
        self._trim(settled)
        return emitted.redaction()

    @property
    def masks_nothing(self) -> bool:
        """As of most pieces."""
        return not self._spans

    def emit_plain(self, limit: int) -> str:
        """What `emit` gives where nothing is to be masked."""
        window, settled = self._window, self._settled
        plain = self._raw_to(min(limit, window.received if window.ended else window.raw_end(settled)))
        self._trim(settled)
        return plain

    def _mask(self, span: Span, emitted: "_Emitted") -> None:
        start, end, value, origin = span.start, span.end, span.value, span.origin
        masking = self._maskings[span.entity]
        plain, mask = self._raw_to(start), masking.mask(value) if origin == start else ""
        raw, self._done_to = self._raw_to(end), end
        finding = None
        if span.complete:
            token = mask if masking.tokens is not None and value is not None else ""
            finding = Finding(span.entity, origin, end, masking.level, span.rule, token)
        emitted.add(plain, mask, raw, finding)

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
        start, self._cursor = self._cursor, max(self._cursor, position)
        return self._window.raw(start, self._cursor)

    def _trim(self, settled: int) -> None:
        """Seldom enough that copying costs nothing."""
        window = self._window
        excess = settled - LOOK_BACK
        while excess > LOOK_BACK and window.raw_start(excess) > self._cursor:
            excess -= LOOK_BACK
        if excess <= LOOK_BACK:
            return
        window.forget(excess)
        for detector in self._detectors:
            detector.shift(excess)


def _placed(span: Span, window: Window) -> Span:
    """In positions of the original. A later part of a match begins where the part before it ended."""
    start = window.raw_start(span.start)
    if start != span.origin:
        start = window.raw_end(span.start)
    return Span(span.entity, start, window.raw_end(span.end), span.value, span.rule, span.origin, span.complete)


def _without_overlap(cluster: Sequence[Span], after: int) -> list[Span]:
    """In order: a span inside an earlier one is dropped, one that reaches over its end begins there."""
    kept: list[Span] = []
    for span in cluster:
        start = max(span.start, after)
        if span.end > start:
            origin = span.origin if span.origin < span.start else start
            kept.append(Span(span.entity, start, span.end, span.value, span.rule, origin, span.complete))
            after = max(after, span.end)
    return kept


def redact(maskings: Mapping[str, Masking], text: str, table: Table = TABLE) -> Redaction:
    """An answer: by definition the stream fed in one piece."""
    return _redacted(Redactor(maskings, table), text)


def redact_prompt(maskings: Mapping[str, Masking], text: str, table: Table = TABLE) -> Redaction:
    return _redacted(Redactor(maskings, table, whole=True), text)


def _redacted(redactor: Redactor, text: str) -> Redaction:
    redactor.push(text)
    redactor.end()
    return redactor.emit(len(text))
