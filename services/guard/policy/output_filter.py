"""Checks an answer while it is written: masks personal data, and stops at what the policy forbids."""

from typing import NamedTuple

from services.guard.policy.bundle import PolicyBundle
from services.guard.policy.folding import squeeze
from services.guard.policy.json_masks import JsonMasks
from services.guard.policy.leakage import RULE, Leak, LeakScan
from services.guard.policy.scan import TopicHit, TopicScan
from services.guard.redaction.finding import Finding
from services.guard.redaction.redactor import Redactor, redact


class Filtered(NamedTuple):
    """What one piece of an answer set free. `withheld`: the rule for which nothing more will be; `flagged`: rules of
    topics that only mark."""

    released: str
    findings: tuple[Finding, ...] = ()
    withheld: str | None = None
    flagged: tuple[str, ...] = ()


_NOTHING = Filtered("")
NO_JSON = "arguments/no-json"  # the rule of an answer that ended because a mask would have left no JSON


class CannotResume(Exception):
    """The released text cannot have come from this answer under this policy."""


class OutputFilter:
    """Releases everything but the longest ending that could still become a match.

    Any way of cutting an answer into pieces releases the same text, finds the same, and withholds at the same place.
    When a topic is hit, nothing at or after the beginning of its match has been or will be released; matches of
    personal data that reach over that place are left out whole."""

    def __init__(self, bundle: PolicyBundle, in_json: bool = False) -> None:
        """`in_json`: the answer is JSON, the arguments of a tool, and stays so; where it could not, it is withheld."""
        self._json = JsonMasks() if in_json else None
        self._redactor = Redactor(bundle.maskings, bundle.table)
        self._topics = TopicScan(bundle.answer_terms)
        self._leaks = LeakScan(bundle.prompt_index)
        self._only_flags_leaks = bundle.prompt_index.only_flags
        self._withheld: str | None = None
        self._mask_ends: tuple[int, ...] = ()  # of the last piece's findings, in its released text
        self._owed = _NOTHING  # after a rebuild: what was decided and has not been handed out

    def feed(self, text: str) -> Filtered:
        if self._withheld is not None:
            return self._closed()
        hits, leak = self._topics.feed(text), self._leaks.feed(text)
        stop = next((hit for hit in hits if hit.refuses), None) if hits else None
        if leak and not self._only_flags_leaks and (stop is None or leak.decided < stop.decided):
            return self._withhold(text, RULE, leak, [hit for hit in hits if hit.decided <= leak.decided])
        if stop:
            return self._withhold(text, stop.rule.source.rule, stop, hits[: hits.index(stop)])
        self._redactor.push(text)
        return self._release(min(self._topics.hold, self._leaks.hold), hits, marks=(RULE,) if leak else ())

    def finish(self) -> Filtered:
        """The answer ends here."""
        if self._withheld is not None:
            return self._closed()
        hits = self._topics.finish()
        stop = next((hit for hit in hits if hit.refuses), None)
        self._redactor.end()
        if stop:
            return self._withhold("", stop.rule.source.rule, stop, hits[: hits.index(stop)])
        return self._release(self._redactor.received, hits, last=True)

    def _withhold(self, text: str, rule: str, stop: TopicHit | Leak, hits: list[TopicHit]) -> Filtered:
        """Nothing behind the place that decided is looked at: with smaller pieces it would not be there yet."""
        if text:
            self._redactor.push(text[: max(0, stop.decided - self._redactor.received)])
        self._withheld = rule
        return self._release(stop.start, hits)

    def _release(self, limit: int, hits: list[TopicHit], last: bool = False, marks: tuple[str, ...] = ()) -> Filtered:
        """`marks`: rules that flag, beside those of the hits."""
        findings: tuple[Finding, ...] = ()
        if self._json is not None:
            text, findings, self._mask_ends, broken = self._json.take(self._redactor.emit(limit), last)
            if broken:
                self._withheld = NO_JSON
        elif self._redactor.masks_nothing:
            text, self._mask_ends = self._redactor.emit_plain(limit), ()
        else:
            text, findings, self._mask_ends, _ = self._redactor.emit(limit)
        if not hits and not marks and self._owed is _NOTHING:  # most pieces
            return Filtered(text, findings, self._withheld)
        flagged = marks + tuple(hit.rule.source.rule for hit in hits if hit.counts and not hit.refuses)
        owed, self._owed = self._owed, _NOTHING
        return Filtered(owed.released + text, owed.findings + findings, self._withheld, owed.flagged + flagged)

    def _closed(self) -> Filtered:
        owed, self._owed = self._owed, _NOTHING
        return Filtered(owed.released, owed.findings, self._withheld, owed.flagged)

    def resume_after(self, raw: str, released_characters: int) -> None:
        """Only for `rebuild`."""
        done = self.feed(raw)
        given = len(done.released)
        if given < released_characters:
            raise CannotResume(f"released_chars: {released_characters} were released, this text gives only {given}")
        fresh = [f for f, end in zip(done.findings, self._mask_ends, strict=True) if end > released_characters]
        self._owed = Filtered(done.released[released_characters:], tuple(fresh), None, done.flagged)


def check_whole(bundle: PolicyBundle, text: str, in_json: bool = False) -> Filtered:
    """A whole answer in one piece, exactly as a filter would release it."""
    harmless = not (bundle.answer_terms.possible(squeeze(text)) or bundle.prompt_index.possible(text))
    if harmless and not in_json:
        redaction = redact(bundle.maskings, text, bundle.table)
        return Filtered(redaction.text, redaction.findings)
    made = OutputFilter(bundle, in_json)
    return joined(made.feed(text), made.finish())


def joined(first: Filtered, rest: Filtered) -> Filtered:
    """Two pieces as one."""
    return Filtered(
        first.released + rest.released, first.findings + rest.findings, rest.withheld, first.flagged + rest.flagged
    )


def rebuild(
    bundle: PolicyBundle, raw_text_so_far: str, released_characters: int, in_json: bool = False
) -> OutputFilter:
    """A filter in the place of one that was lost; what it hands out next, text and findings, follows the
    `released_characters`."""
    made = OutputFilter(bundle, in_json)
    made.resume_after(raw_text_so_far, released_characters)
    return made
