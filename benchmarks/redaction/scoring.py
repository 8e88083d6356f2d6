"""How well the places a system masks fit those that should be, with intervals."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.redaction.rows import WRITTEN_FREELY, Corpus, Place, Row, classes_of, written_form

_Z = 1.96  # 95 %
_RESAMPLES, _SEED = 500, 20251123
STRUCTURED = "structured"


@dataclass
class Share:
    """`hits` of `all`, with Wilson's 95 % interval."""

    hits: int = 0
    all: int = 0

    def add(self, hit: bool) -> None:
        self.hits, self.all = self.hits + hit, self.all + 1

    @property
    def percent(self) -> float:
        return 100 * self.hits / self.all if self.all else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        if not self.all:
            return (0.0, 100.0)
        share, n = self.hits / self.all, self.all
        middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        reach = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n))
        return (100 * max(0.0, middle - reach), 100 * min(1.0, middle + reach))


@dataclass
class Exact:
    """Places that are right to the character and of the right class."""

    right: int = 0
    found: int = 0
    expected: int = 0

    def figures(self) -> tuple[float, float, float]:
        """Precision, recall and F1."""
        precision = self.right / self.found if self.found else 0.0
        recall = self.right / self.expected if self.expected else 0.0
        return precision, recall, 2 * precision * recall / (precision + recall) if self.right else 0.0


@dataclass
class Score:
    masked: dict[str, Share] = field(default_factory=lambda: defaultdict(Share))  # by label
    forms: dict[str, Share] = field(default_factory=lambda: defaultdict(Share))  # of structured classes
    touched: dict[str, Share] = field(default_factory=lambda: defaultdict(Share))  # hard negatives, by kind
    harmless: Share = field(default_factory=Share)  # sentences without personal data that are touched
    exact: dict[str, Exact] = field(default_factory=lambda: defaultdict(Exact))
    per_row: dict[str, list[Exact]] = field(default_factory=lambda: defaultdict(list))  # by part: STRUCTURED, a label
    confusions: Counter[tuple[str, str]] = field(default_factory=Counter)  # of label and what it was taken for
    misses: list[str] = field(default_factory=list)  # what went wrong, for a person to read

    @property
    def structured(self) -> Share:
        return _sum(share for label, share in self.masked.items() if label not in WRITTEN_FREELY)

    @property
    def negatives(self) -> Share:
        return _sum(self.touched.values())

    def interval_of_f1(self, part: str = STRUCTURED) -> tuple[float, float]:
        """By drawing the sentences anew."""
        chance, drawn, rows = random.Random(_SEED), [], self.per_row[part]
        for _ in range(_RESAMPLES if rows else 0):
            drawn.append(_total(chance.choices(rows, k=len(rows))).figures()[2])
        drawn.sort()
        return (drawn[len(drawn) // 40], drawn[-len(drawn) // 40 - 1]) if drawn else (0.0, 0.0)

    def exact_structured(self) -> Exact:
        return _total(self.per_row[STRUCTURED])


def judge(corpus: Corpus, answers: Sequence[Sequence[Place]], keep: Callable[[str], bool] = lambda _: True) -> Score:
    """`keep` says which labels count; entities of others are passed over."""
    score = Score()
    for row, found in zip(corpus.rows, answers, strict=True):
        _judge_row(score, row, found, keep)
    return score


def _judge_row(score: Score, row: Row, found: Sequence[Place], keep: Callable[[str], bool]) -> None:
    covered = {at for place in found for at in range(place.start, place.end)}
    for entity in filter(lambda one: keep(one.label), row.entities):
        value = row.text[entity.start : entity.end]
        whole = covered.issuperset(range(entity.start, entity.end))
        score.masked[entity.label].add(whole)
        if entity.label not in WRITTEN_FREELY:
            score.forms[row.variant or written_form(value)].add(whole)
            if not whole:
                score.misses.append(f"not masked {entity.label} {value!r} in {row.text!r}")
        score.confusions.update(_confusions(entity, found))
    for negative in row.negatives:
        hit = not covered.isdisjoint(range(negative.start, negative.end))
        score.touched[negative.label].add(hit)
        if hit:
            score.misses.append(f"touched {negative.label} in {row.text!r}: {_names(negative, found)}")
    if row.harmless:
        hits = [place for place in found if not _meets_any(place, row.elsewhere)]
        score.harmless.add(bool(hits))
        score.misses += [f"touched {h.label} {row.text[h.start : h.end]!r} in {row.text!r}" for h in hits]
    _judge_exactly(score, row, found)


def _judge_exactly(score: Score, row: Row, found: Sequence[Place]) -> None:
    here: dict[str, Exact] = defaultdict(Exact)
    expected = {(one.start, one.end): one.label for one in row.entities}
    for entity in row.entities:
        here[entity.label].expected += 1
    for place in found:
        label = expected.get((place.start, place.end), "")
        if label and place.label in classes_of(label):
            here[label].right += 1
            here[label].found += 1
        elif not _meets_any(place, row.elsewhere):
            here[next((one for one in SEEN if place.label in classes_of(one)), place.label)].found += 1
    for label, one in here.items():
        score.exact[label] = _total((score.exact[label], one))
    structured = _total(one for label, one in here.items() if label not in WRITTEN_FREELY)
    for part, one in ((STRUCTURED, structured), *((label, here[label]) for label in sorted(WRITTEN_FREELY))):
        score.per_row[part].append(one)


SEEN = ("PERSON", "ADDRESS", "CN_MOBILE", "PHONE", "CN_ID", "BANK_CARD", "EMAIL", "PASSPORT")


def _confusions(entity: Place, found: Sequence[Place]) -> list[tuple[str, str]]:
    return [
        (entity.label, place.label)
        for place in found
        if _meets_any(place, (entity,)) and place.label not in classes_of(entity.label)
    ]


def _meets_any(place: Place, others: Sequence[Place]) -> bool:
    return any(place.start < other.end and other.start < place.end for other in others)


def _names(place: Place, found: Sequence[Place]) -> str:
    return ", ".join(one.label for one in found if _meets_any(one, (place,)))


def _sum(shares: Iterable[Share]) -> Share:
    total = Share()
    for share in shares:
        total = Share(total.hits + share.hits, total.all + share.all)
    return total


def _total(some: Iterable[Exact]) -> Exact:
    rows = list(some)
    return Exact(sum(r.right for r in rows), sum(r.found for r in rows), sum(r.expected for r in rows))
