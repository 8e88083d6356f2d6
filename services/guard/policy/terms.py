"""The words of a policy as one automaton, and what each of them is a part of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ahocorasick_rs import AhoCorasick, MatchKind

from services.guard.policy.folding import GAP, fold_word, spaced_script
from services.guard.policy.topics import Combination, Direction, Topic, WordList

UNLESS_REACH = 18  # characters of folded text on either side of a match in which an `unless` word excuses it
ENDING = 3  # characters by which the beginnings of words are looked up
SHORTER = (2, 1)
SPELLED_FROM = 4  # letters; a word this long is also found spelled out: b o m b, b.o.m.b


class Membership(NamedTuple):
    """A word's part in a rule: its group's number, or ALONE in a list, or UNLESS."""

    rule: int
    group: int


ALONE, UNLESS = -1, -2


@dataclass(frozen=True)
class Rule:
    """A word list or a combination, with its topic."""

    topic: Topic
    source: WordList | Combination

    @property
    def stage(self) -> str:
        return "lists" if isinstance(self.source, WordList) else "rules"


@dataclass(frozen=True)
class Term:
    """A folded word. An edge it must have: no letter of a spaced script may be glued to it there."""

    text: str
    edge_before: bool
    edge_after: bool
    memberships: tuple[Membership, ...]


@dataclass(frozen=True)
class TermIndex:
    """All words of one direction. An empty policy has no words, and matches nothing."""

    rules: tuple[Rule, ...]
    terms: tuple[Term, ...]
    automaton: AhoCorasick | None
    # Of every word, and whole ones whose edge is still to be seen: whether it is one of a word that counts.
    beginnings: dict[str, bool]
    endings: dict[str, tuple[int, ...]]  # of `beginnings`, to how long those are that end so, the longest first
    longest: int
    reach: int  # of a hit, at most: characters of squeezed text from its beginning to where it is decided
    parts: tuple[tuple[tuple[int, int], ...], ...]  # for each term: the rules it helps to meet, its group as a bit
    needs: tuple[int, ...]  # for each rule: the bits of all its groups

    def hits(self, text: str) -> list[tuple[int, int, int]]:
        """Every occurrence of every word, overlapping ones too, edges not looked at: the term's number, start, end."""
        return [] if self.automaton is None else self.automaton.find_matches_as_indexes(text, overlapping=True)

    def possible(self, text: str) -> bool:
        """Whether a rule may be met somewhere in this whole squeezed text; False is certain. Only asks whether all the
        words are there, wherever they stand."""
        if self.automaton is None:
            return False
        met: dict[int, int] = {}
        for number, _, _ in self.automaton.find_matches_as_indexes(text, overlapping=True):
            for rule, groups in self.parts[number]:
                seen = met[rule] = met.get(rule, 0) | groups
                if seen == self.needs[rule]:
                    return True
        return False


@dataclass
class _Collected:
    memberships: dict[tuple[str, bool, bool], list[Membership]] = field(default_factory=dict)

    def add(self, word: str, membership: Membership) -> None:
        prefix = word.endswith("*")
        text = fold_word(word.rstrip("*"))
        key = (text, spaced_script(text[0]), spaced_script(text[-1]) and not prefix)
        self._note(key, membership)
        letters = text.replace(GAP, "")
        if membership.group != UNLESS and len(letters) >= SPELLED_FROM and all(map(spaced_script, letters)):
            self._note((GAP.join(letters), True, key[2]), membership)

    def _note(self, key: tuple[str, bool, bool], membership: Membership) -> None:
        members = self.memberships.setdefault(key, [])
        if membership not in members:
            members.append(membership)


def index_terms(topics: Sequence[Topic], direction: Direction) -> TermIndex:
    """The words of all lists and combinations that cover a direction."""
    collected = _Collected()
    rules: list[Rule] = []
    for topic in topics:
        sources: tuple[WordList | Combination, ...] = (*topic.lists, *topic.combinations)
        for source in sources:
            if source.direction.covers(direction) and topic.direction.covers(direction):
                for group, words in _groups(source).items():
                    for word in words:
                        collected.add(word, Membership(len(rules), group))
                rules.append(Rule(topic, source))
    terms = tuple(Term(*key, tuple(members)) for key, members in collected.memberships.items())
    automaton = AhoCorasick([term.text for term in terms], matchkind=MatchKind.Standard) if terms else None
    beginnings: dict[str, bool] = {}
    for term in terms:
        counts = any(member.group != UNLESS for member in term.memberships)
        for length in range(1, len(term.text) + term.edge_after):
            beginnings[term.text[:length]] = beginnings.get(term.text[:length], False) or counts
    longest = max((len(term.text) for term in terms), default=0)
    return TermIndex(
        tuple(rules),
        terms,
        automaton,
        beginnings,
        _endings(beginnings),
        longest,
        max(map(_reach, rules), default=0) + 2 * longest + 2,
        tuple(tuple((one.rule, _bit(one.group)) for one in term.memberships if one.group != UNLESS) for term in terms),
        tuple(map(_needs, rules)),
    )


def _endings(beginnings: Iterable[str]) -> dict[str, tuple[int, ...]]:
    sizes: dict[str, set[int]] = {}
    for beginning in beginnings:
        if len(beginning) >= ENDING:
            sizes.setdefault(beginning[-ENDING:], set()).add(len(beginning))
    return {ending: (*sorted(found, reverse=True), *SHORTER) for ending, found in sizes.items()}


def _reach(rule: Rule) -> int:
    within = rule.source.within if isinstance(rule.source, Combination) else 0
    return within + 2 * UNLESS_REACH


def _bit(group: int) -> int:
    return 1 << max(group, 0)  # a word that counts ALONE is all that its rule needs


def _needs(rule: Rule) -> int:
    return (1 << len(rule.source.groups)) - 1 if isinstance(rule.source, Combination) else _bit(ALONE)


def _groups(source: WordList | Combination) -> Mapping[int, Sequence[str]]:
    if isinstance(source, WordList):
        return {ALONE: source.words}
    return dict(enumerate(source.groups)) | {UNLESS: source.unless}
