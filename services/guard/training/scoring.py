"""Scores what a finder of names and addresses finds, exactly, with intervals."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from services.guard.redaction.named.entity import ADDRESS, LOOK_AHEAD, PERSON, Entity
from services.guard.training.sentences import Sentence

RESAMPLES = 1000
VIEWS = (("prompts", None), ("answers", LOOK_AHEAD))

Finder = Callable[[str], Sequence[Entity]]


@dataclass(frozen=True)
class Outcome:
    """What became of one sentence: (kind, verdict) pairs where verdict is right, wrong or missed."""

    template: str
    lang: str
    counts: Counter[tuple[str, str]]
    negatives: int
    negatives_touched: int
    touched: bool | None  # None where the sentence has personal data of some class


def _meets(entity: Entity, spans: Sequence[tuple[int, int]]) -> bool:
    return any(entity.start < end and start < entity.end for start, end in spans)


def language(text: str) -> str:
    return "zh" if any("\u4e00" <= character <= "\u9fff" for character in text) else "en"


def judge(finder: Finder, sentence: Sentence) -> Outcome:
    """Exact finds count; a wrong one that lies in data of classes outside our scope counts for nothing."""
    gold = set(sentence.entities)
    found = [entity for entity in finder(sentence.text) if entity in gold or not _meets(entity, sentence.exempt)]
    counts = Counter((entity.kind, "right" if entity in gold else "wrong") for entity in found)
    counts.update((entity.kind, "missed") for entity in gold.difference(found))
    hit = sum(any(entity.start < end and start < entity.end for entity in found) for start, end in sentence.negatives)
    touched = None if sentence.personal else bool(found)
    return Outcome(sentence.template, language(sentence.text), counts, len(sentence.negatives), hit, touched)


def sums(outcomes: Sequence[Outcome], lang: str, kind: str) -> tuple[int, int, int]:
    total: Counter[str] = Counter()
    for outcome in outcomes:
        if lang in ("all", outcome.lang):
            for (one, verdict), count in outcome.counts.items():
                total[verdict] += count if kind in ("all", one) else 0
    return total["right"], total["wrong"], total["missed"]


def f1(right: int, wrong: int, missed: int) -> float:
    return 2 * right / max(1, 2 * right + wrong + missed)


def _exact(kind: str, outcomes: Sequence[Outcome]) -> float:
    return f1(*sums(outcomes, "all", kind))


def interval(outcomes: Sequence[Outcome], figure: Callable[[Sequence[Outcome]], float]) -> tuple[float, float]:
    """95 %, by drawing templates anew: sentences of one template stand or fall together."""
    by_template: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_template.setdefault(outcome.template, []).append(outcome)
    groups, chance = list(by_template.values()), random.Random(1)
    drawn = sorted(figure([o for g in chance.choices(groups, k=len(groups)) for o in g]) for _ in range(RESAMPLES))
    return drawn[RESAMPLES // 40], drawn[-RESAMPLES // 40 - 1]


def figures(outcomes: dict[str, list[Outcome]]) -> Iterator[dict[str, Any]]:
    """Of both views, all languages and both kinds, and of each alone."""
    for name, _ in VIEWS:
        for lang in ("all", "zh", "en"):
            for kind in ("all", PERSON, ADDRESS):
                chosen = [outcome for outcome in outcomes[name] if lang in ("all", outcome.lang)]
                right, wrong, missed = sums(chosen, lang, kind)
                yield {
                    "where": name,
                    "what": f"{kind}, {lang}",
                    "precision": right / max(1, right + wrong),
                    "recall": right / max(1, right + missed),
                    "f1": f1(right, wrong, missed),
                    "interval": interval(chosen, partial(_exact, kind)),
                    "of": right + missed,
                }


def lines(outcomes: dict[str, list[Outcome]], measured: Iterable[dict[str, Any]]) -> Iterator[str]:
    """`measured`: its figures."""
    yield "| where | what | precision | recall | exact F1 (95 %) | of |"
    yield "|---|---|---|---|---|---|"
    for one in measured:
        low, high = one["interval"]
        exact = f"{one['precision']:.3f} | {one['recall']:.3f} | {one['f1']:.3f} ({low:.3f}-{high:.3f})"
        yield f"| {one['where']} | {one['what']} | {exact} | {one['of']} |"
    yield ""
    for name, _ in VIEWS:
        harmless = [outcome.touched for outcome in outcomes[name] if outcome.touched is not None]
        negatives = sum(outcome.negatives for outcome in outcomes[name])
        hit = sum(outcome.negatives_touched for outcome in outcomes[name])
        yield f"{name}: sentences without personal data touched {_share(sum(harmless), len(harmless))},"
        yield f"hard negatives touched {_share(hit, negatives)}"
    yield ""
    yield from _by_source(outcomes["plain"])


def _by_source(plain: Sequence[Outcome]) -> Iterator[str]:
    yield "| plain source, left out of the training | texts in which a name or an address is found |"
    yield "|---|---|"
    for source in sorted({outcome.template for outcome in plain}):
        hits = [bool(outcome.touched) for outcome in plain if outcome.template == source]
        yield f"| {source} | {_share(sum(hits), len(hits))} |"


def _share(hits: int, of: int) -> str:
    """With Wilson's 95 % interval."""
    if not of:
        return "0 of 0"
    share, z = hits / of, 1.96
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    reach = z / (1 + z * z / of) * (share * (1 - share) / of + z * z / (4 * of * of)) ** 0.5
    return f"{hits} of {of}: {100 * share:.2f} % ({100 * max(0.0, middle - reach):.2f}-{100 * (middle + reach):.2f})"


def print_table(outcomes: dict[str, list[Outcome]]) -> None:
    for line in lines(outcomes, figures(outcomes)):
        print(line)
