"""Looks for the words of a policy in a text that arrives in pieces. What it finds does not depend on the pieces."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from services.guard.policy.folding import GAP, LONGEST_GAP, NOTHING, STOP, fold, spaced_script
from services.guard.policy.terms import ALONE, UNLESS, UNLESS_REACH, Membership, Rule, Term, TermIndex
from services.guard.policy.topics import Action, Combination

_WORDS = re.compile(f"[^{GAP}{NOTHING}]+")
_ASCII_STARTS = re.compile("(?<![A-Za-z0-9])[A-Za-z0-9]")  # where a word begins in text without other letters


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


@dataclass(frozen=True)
class _Occurrence:
    """A word in the squeezed text, whose offsets count squeezed characters from the text's beginning."""

    term: Term
    start: int
    end: int
    known: int  # squeezed length at which its edges were seen


@dataclass(frozen=True)
class _Candidate:
    rule: Rule
    number: int
    start: int
    end: int
    known: int


class TopicScan:
    """Squeezes the folded text, finds words in it, and combines them.

    Squeezing drops what stands between two ideographs and leaves one GAP between words of spaced scripts. Events are
    taken in the order of their positions in the squeezed text. `hold` is the position in the original text from which
    a hit may still begin: no more than (longest combination + longest word + UNLESS_REACH) letters back, each with at
    most LONGEST_GAP characters beside it."""

    def __init__(self, index: TermIndex) -> None:
        self._index = index
        self._text = ""  # squeezed; its end only
        self._origins: list[int] = []  # for each squeezed character, the original one that made it appear
        self._dropped = 0  # squeezed characters before `_text`
        self._read = 0  # characters of the original
        self._gap = 0  # length of the gap at the end
        self._gap_shows = False
        self._occurrences: dict[Membership, list[_Occurrence]] = {}  # of words that others may still complete or excuse
        self._candidates: list[_Candidate] = []

    @property
    def hold(self) -> int:
        """Where the longest stretch begins that more text could still turn into a hit."""
        partial = self._partial_word()
        starts = [candidate.start for candidate in self._candidates]
        if self._occurrences:
            length = self._dropped + len(self._text)
            for membership, seen in self._occurrences.items():
                starts += [one.start for one in seen if self._awaits_others(membership, one, length, partial)]
        if partial is not None:
            starts.append(partial)
        return self._origins[min(starts) - self._dropped] if starts else self._read

    def feed(self, text: str) -> list[TopicHit]:
        """The hits that this piece decides, in the order in which they are decided."""
        before = self._dropped + len(self._text)
        self._squeeze(text)
        hits = self._events(before, self._dropped + len(self._text))
        self._forget()
        return hits

    def finish(self) -> list[TopicHit]:
        """The end of the text is an edge for every word, and excuses nothing more."""
        length = self._dropped + len(self._text)
        hits = self._events(length, length + 1) + self._decide(length + self._index.reach, self._read)
        self._candidates = []
        return hits

    def _squeeze(self, text: str) -> None:
        """As `squeeze` does with a whole text, and keeps where each character came from."""
        folded, read, origins = fold(text), self._read, self._origins
        squeezed: list[str] = []
        gap, shows, last, end = self._gap, self._gap_shows, self._text[-1:] or STOP, 0
        for match in _WORDS.finditer(folded):
            start, stop = match.span()
            if start > end:
                shows = shows or folded.find(GAP, end, start) >= 0
                if gap + start - end > LONGEST_GAP and self._stop(gap, end, start, squeezed):
                    last = STOP
                gap += start - end
            if gap:
                if shows and spaced_script(last) and spaced_script(folded[start]):
                    squeezed.append(GAP)
                    origins.append(read + start)
                gap, shows = 0, False
            squeezed.append(folded[start:stop])
            origins.extend(range(read + start, read + stop))
            last, end = folded[stop - 1], stop
        if end < len(folded):
            shows = shows or folded.find(GAP, end) >= 0
            self._stop(gap, end, len(folded), squeezed)
            gap += len(folded) - end
        self._gap, self._gap_shows = gap, shows
        self._text += "".join(squeezed)
        self._read += len(text)

    def _stop(self, gap: int, start: int, end: int, squeezed: list[str]) -> bool:
        """A STOP for every LONGEST_GAP + 1 characters of a gap, so that waiting for letters is bounded in characters
        too. True if there was one."""
        stops = range(start + LONGEST_GAP - gap % (LONGEST_GAP + 1), end, LONGEST_GAP + 1)
        squeezed += [STOP] * len(stops)
        self._origins += [self._read + place for place in stops]
        return len(stops) > 0

    def _events(self, before: int, now: int) -> list[TopicHit]:
        hits: list[TopicHit] = []
        words = list(self._words(before, now))
        if not words and not self._candidates:  # most pieces
            return hits
        for seen in sorted(words, key=attrgetter("known", "start", "end")):
            hits += self._decide(seen.known - 1, self._read)
            self._combine(seen)
        return hits + self._decide(now, self._read)

    def _words(self, before: int, now: int) -> Iterable[_Occurrence]:
        """The words whose edges became known after `before` squeezed characters."""
        fresh = max(0, before - self._dropped - self._index.longest - 2)
        text = self._text[fresh:] if fresh else self._text
        base = self._dropped + fresh
        for term, start, end in self._index.hits(text):
            known = base + end + term.edge_after
            if not before < known <= now:
                continue
            if term.edge_before and start and spaced_script(text[start - 1]):
                continue
            if term.edge_after and end < len(text) and spaced_script(text[end]):
                continue
            yield _Occurrence(term, base + start, base + end, known)

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
        for candidate in sorted(ready, key=attrgetter("known", "start", "end", "number")):
            if not self._excused(candidate):
                place = candidate.known - 1 - self._dropped
                decided = self._origins[place] + 1 if place < len(self._origins) else read
                start, end = (self._origins[at - self._dropped] for at in (candidate.start, candidate.end - 1))
                hits.append(TopicHit(candidate.rule, start, end + 1, decided))
        return hits

    def _excused(self, candidate: _Candidate) -> bool:
        reach = candidate.start - UNLESS_REACH
        return any(
            excuse.start >= reach and excuse.end <= candidate.end + UNLESS_REACH
            for excuse in self._recent(Membership(candidate.number, UNLESS), reach)
        )

    def _partial_word(self) -> int | None:
        """Where the longest ending of the text begins that is the beginning of a word."""
        text, length, beginnings = self._text, len(self._text), self._index.beginnings
        low = max(0, length - self._index.longest)
        if text[max(0, low - 1) :].isascii():
            for match in _ASCII_STARTS.finditer(text, low):
                if text[match.start() :] in beginnings:
                    return self._dropped + match.start()
            return None
        ideographs_from = length - self._index.longest_ideographic
        within = low > 0 and spaced_script(text[low - 1])  # a word of a spaced script
        for start in range(low, length):
            spaced = spaced_script(text[start])
            begins = not within if spaced else start >= ideographs_from
            if begins and text[start:] in beginnings:
                return self._dropped + start
            within = spaced
        return None

    def _awaits_others(self, membership: Membership, seen: _Occurrence, length: int, partial: int | None) -> bool:
        source = self._index.rules[membership.rule].source
        if membership.group == UNLESS or not isinstance(source, Combination):
            return False
        if source.ordered and membership.group == len(source.groups) - 1:
            return False
        last_start = seen.end + source.within
        return length <= last_start or (partial is not None and partial <= last_start)

    def _forget(self) -> None:
        """Drops what nothing can refer to any more; seldom enough that copying costs nothing."""
        if len(self._text) < 2 * self._index.reach + UNLESS_REACH:
            return
        length = self._dropped + len(self._text)
        oldest = min([length - self._index.reach, *(candidate.start for candidate in self._candidates)])
        for membership in list(self._occurrences):
            kept = [seen for seen in self._occurrences[membership] if seen.end >= oldest - UNLESS_REACH]
            if kept:
                self._occurrences[membership] = kept
            else:
                del self._occurrences[membership]
        cut = oldest - UNLESS_REACH - 2 * self._index.longest - 2 - self._dropped
        if cut > 0:
            self._text, self._origins = self._text[cut:], self._origins[cut:]
            self._dropped += cut


def _apart(one: _Occurrence, others: Iterable[_Occurrence]) -> bool:
    return all(other.end <= one.start or one.end <= other.start for other in others)
