"""Looks for the words of a policy in a text that arrives in pieces. What it finds does not depend on the pieces."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from services.guard.policy.folding import GAP, LONGEST_GAP, STOP, fold, next_gap, spaced_script
from services.guard.policy.terms import (
    ALONE,
    ENDING,
    SHORTER,
    UNLESS,
    UNLESS_REACH,
    Membership,
    Rule,
    Term,
    TermIndex,
)
from services.guard.policy.topics import Action, Combination


@dataclass(frozen=True)
class TopicHit:
    """A rule met by the characters [start, end) of the text; what follows up to `decided` was needed to say so."""

    rule: Rule
    start: int
    end: int
    decided: int

    @property
    def refuses(self) -> bool:
        return self.rule.topic.action is Action.REFUSE and self.counts

    @property
    def counts(self) -> bool:
        return self.rule.source.score >= self.rule.topic.threshold


class _Occurrence:
    """A word in the squeezed text, whose offsets count squeezed characters from the text's beginning. `known`: the
    squeezed length at which its edges were seen."""

    __slots__ = ("end", "known", "start", "term")

    def __init__(self, term: Term, start: int, end: int, known: int) -> None:
        self.term, self.start, self.end, self.known = term, start, end, known


class _Candidate:
    __slots__ = ("end", "known", "number", "rule", "start")

    def __init__(self, rule: Rule, number: int, start: int, end: int, known: int) -> None:
        self.rule, self.number, self.start, self.end, self.known = rule, number, start, end, known


def _by_place(one: _Occurrence) -> tuple[int, int, int]:
    return one.known, one.start, one.end


def _in_turn(one: _Candidate) -> tuple[int, int, int, int]:
    return one.known, one.start, one.end, one.number


class TopicScan:
    """Squeezes the folded text, finds words in it, and combines them.

    Squeezing drops what stands between two ideographs and leaves one GAP between words of spaced scripts. Events are
    taken in the order of their positions in the squeezed text. `hold` is the position in the original text from which
    a hit may still begin: no more than (longest combination + longest word + UNLESS_REACH) letters back, each with at
    most LONGEST_GAP characters beside it."""

    def __init__(self, index: TermIndex) -> None:
        self._index = index
        self._text = ""  # squeezed; its end only
        self._runs: list[int] = []  # the squeezed characters from which on the original ones are as close together
        self._shifts: list[int] = []  # and what leads there from a squeezed one's place
        self._length = 0  # squeezed characters from the beginning, of which `_text` has the last
        self._dropped = 0  # and those before it
        self._last = STOP  # the last one
        self._read = 0  # characters of the original
        self._gap = 0  # length of the gap at the end
        self._gap_shows = False
        self._occurrences: dict[Membership, list[_Occurrence]] = {}  # of words that others may still complete or excuse
        self._candidates: list[_Candidate] = []
        self._begun = 0  # the squeezed character from which on the text may be the beginning of a word
        self._partial: int | None = None  # and of one that counts

    @property
    def hold(self) -> int:
        """Where the longest stretch begins that more text could still turn into a hit."""
        partial = self._partial
        starts = [candidate.start for candidate in self._candidates] if self._candidates else []
        if self._occurrences:
            for membership, seen in self._occurrences.items():
                starts += [one.start for one in seen if self._awaits_others(membership, one, partial)]
        if partial is not None:
            starts.append(partial)
        return self._origin(min(starts)) if starts else self._read

    def _origin(self, place: int) -> int:
        """The original character that made the squeezed one appear: a GAP appears with the letter behind it."""
        if self._text[place - self._dropped] == GAP:
            place += 1
        return place + self._shifts[bisect_right(self._runs, place) - 1]

    def feed(self, text: str) -> list[TopicHit]:
        """The hits that this piece decides, in the order in which they are decided."""
        before = self._length
        self._squeeze(text)
        hits = self._events(before, self._length)
        self._forget()
        self._begin_word()
        return hits

    def finish(self) -> list[TopicHit]:
        """The end of the text is an edge for every word, and excuses nothing more."""
        hits = self._events(self._length, self._length + 1)
        hits += self._decide(self._length + self._index.reach, self._read)
        self._candidates = []
        return hits

    def _squeeze(self, text: str) -> None:
        """As `squeeze` does with a whole text, and keeps where each character came from."""
        folded = fold(text)
        at, size = 0, len(folded)
        squeezed: list[str] = []
        while at < size:
            start, end = next_gap(folded, at)
            if start > at:
                self._take(folded[at:start], at, squeezed)
            if end > start:
                self._pass_over(folded, start, end, squeezed)
            at = end
        if squeezed:
            self._text += "".join(squeezed)
        self._read += len(text)

    def _take(self, words: str, at: int, squeezed: list[str]) -> None:
        """Words that begin at `at` of the piece, with nothing between them but what stays."""
        if self._gap:
            if self._gap_shows and spaced_script(self._last) and spaced_script(words[0]):
                squeezed.append(GAP)
                self._length += 1
            self._gap, self._gap_shows = 0, False
        self._append(words, at, squeezed)

    def _pass_over(self, folded: str, start: int, end: int, squeezed: list[str]) -> None:
        """A gap, with a STOP for every LONGEST_GAP + 1 characters of it, so that waiting for letters is bounded in
        characters too."""
        gap = self._gap
        self._gap_shows = self._gap_shows or folded.find(GAP, start, end) >= 0
        if gap + end - start > LONGEST_GAP:
            for place in range(start + LONGEST_GAP - gap % (LONGEST_GAP + 1), end, LONGEST_GAP + 1):
                self._append(STOP, place, squeezed)
        self._gap = gap + end - start

    def _append(self, words: str, at: int, squeezed: list[str]) -> None:
        shift = self._read + at - self._length
        if not self._shifts or shift != self._shifts[-1]:
            self._runs.append(self._length)
            self._shifts.append(shift)
        squeezed.append(words)
        self._length += len(words)
        self._last = words[-1]

    def _events(self, before: int, now: int) -> list[TopicHit]:
        hits: list[TopicHit] = []
        words = self._words(before, now)
        if not words and not self._candidates:  # most pieces
            return hits
        if len(words) > 1:
            words.sort(key=_by_place)
        for seen in words:
            hits += self._decide(seen.known - 1, self._read)
            self._combine(seen)
        return hits + self._decide(now, self._read)

    def _words(self, before: int, now: int) -> list[_Occurrence]:
        """The words whose edges became known after `before` squeezed characters."""
        text, dropped = self._text, self._dropped
        fresh = self._begun - dropped
        found: list[_Occurrence] = []
        for number, start, end in self._index.hits(text[fresh:]):
            term = self._index.terms[number]
            start, end = start + fresh, end + fresh
            known = dropped + end + term.edge_after
            if not before < known <= now:
                continue
            if term.edge_before and start and spaced_script(text[start - 1]):
                continue
            if term.edge_after and end < len(text) and spaced_script(text[end]):
                continue
            found.append(_Occurrence(term, dropped + start, dropped + end, known))
        return found

    def _combine(self, seen: _Occurrence) -> None:
        for membership in seen.term.memberships:
            rule = self._index.rules[membership.rule]
            if membership.group == ALONE:
                self._candidates.append(_Candidate(rule, membership.rule, seen.start, seen.end, seen.known))
                continue
            self._occurrences.setdefault(membership, []).append(seen)
            if membership.group != UNLESS and isinstance(rule.source, Combination):
                parts = self._parts(rule.source, membership, seen)
                if parts is not None:
                    start, end = min(p.start for p in parts), max(p.end for p in parts)
                    known = max(seen.known, end + UNLESS_REACH + 1) if rule.source.unless else seen.known
                    self._candidates.append(_Candidate(rule, membership.rule, start, end, known))

    def _parts(
        self, combination: Combination, membership: Membership, seen: _Occurrence
    ) -> Sequence[_Occurrence] | None:
        """One occurrence of each group, the latest that fits, or None."""
        parts = {membership.group: seen}
        for group in range(len(combination.groups)):
            if group in parts:
                continue
            others = self._recent(Membership(membership.rule, group), seen.start - combination.within)
            part = next((other for other in others if _apart(other, parts.values())), None)
            if part is None:
                return None
            parts[group] = part
        ordered = [parts[group] for group in sorted(parts)]
        spread = max(p.start for p in ordered) - min(p.end for p in ordered)
        if spread > combination.within:
            return None
        if combination.ordered and [p.start for p in ordered] != sorted(p.start for p in ordered):
            return None
        return ordered

    def _recent(self, membership: Membership, since: int) -> Iterator[_Occurrence]:
        """The latest first, of those that end at `since` or later."""
        for seen in reversed(self._occurrences.get(membership, ())):
            if seen.known < since - self._index.longest:
                return
            if seen.end >= since:
                yield seen

    def _decide(self, length: int, read: int) -> list[TopicHit]:
        """The candidates whose surroundings are known once the squeezed text has that length."""
        ready = [candidate for candidate in self._candidates if candidate.known <= length] if self._candidates else []
        if not ready:
            return []
        self._candidates = [candidate for candidate in self._candidates if candidate.known > length]
        hits = []
        for candidate in sorted(ready, key=_in_turn):
            if not self._excused(candidate):
                place = candidate.known - 1
                decided = self._origin(place) + 1 if place < self._length else read
                start, end = self._origin(candidate.start), self._origin(candidate.end - 1)
                hits.append(TopicHit(candidate.rule, start, end + 1, decided))
        return hits

    def _excused(self, candidate: _Candidate) -> bool:
        reach = candidate.start - UNLESS_REACH
        return any(
            excuse.start >= reach and excuse.end <= candidate.end + UNLESS_REACH
            for excuse in self._recent(Membership(candidate.number, UNLESS), reach)
        )

    def _begin_word(self) -> None:
        """Looks for the longest endings of the text that are the beginning of a word."""
        text, length = self._text, len(self._text)
        self._begun, self._partial = self._dropped + length, None
        for size in self._index.endings.get(text[-ENDING:], SHORTER):
            start = length - size
            counts = self._index.beginnings.get(text[start:]) if start >= 0 else None
            if counts is None or (start and spaced_script(text[start]) and spaced_script(text[start - 1])):
                continue
            self._begun = min(self._begun, self._dropped + start)
            if counts:
                self._partial = self._dropped + start
                return

    def _awaits_others(self, membership: Membership, seen: _Occurrence, partial: int | None) -> bool:
        source = self._index.rules[membership.rule].source
        if membership.group == UNLESS or not isinstance(source, Combination):
            return False
        if source.ordered and membership.group == len(source.groups) - 1:
            return False
        last_start = seen.end + source.within
        return self._length <= last_start or (partial is not None and partial <= last_start)

    def _forget(self) -> None:
        """Drops what nothing can refer to any more; seldom enough that copying costs nothing."""
        if len(self._text) < 2 * self._index.reach + UNLESS_REACH:
            return
        oldest = min([self._length - self._index.reach, *(candidate.start for candidate in self._candidates)])
        for membership in list(self._occurrences):
            kept = [seen for seen in self._occurrences[membership] if seen.end >= oldest - UNLESS_REACH]
            if kept:
                self._occurrences[membership] = kept
            else:
                del self._occurrences[membership]
        cut = oldest - UNLESS_REACH - 2 * self._index.longest - 2 - self._dropped
        if cut > 0:
            self._text = self._text[cut:]
            self._dropped += cut
            first = bisect_right(self._runs, self._dropped) - 1
            self._runs, self._shifts = self._runs[first:], self._shifts[first:]


def _apart(one: _Occurrence, others: Iterable[_Occurrence]) -> bool:
    return all(other.end <= one.start or one.end <= other.start for other in others)
