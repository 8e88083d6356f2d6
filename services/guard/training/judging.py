"""Judges the models on templates and sources that they were not trained on."""

import random
from collections import Counter
from collections.abc import Sequence
from functools import partial

from services.guard.redaction.named.model import Model, find
from services.guard.training.names import COPIES, STEPS, Report, train
from services.guard.training.scoring import VIEWS, Outcome, f1, judge, language, sums
from services.guard.training.sentences import Sentence


def leave_out(
    marked: Sequence[Sentence],
    plain: Sequence[Sentence],
    folds: int,
    seed: int,
    report: Report,
    *,
    copies: int = COPIES,
    steps: int = STEPS,
) -> dict[str, list[Outcome]]:
    """Every template is judged by a model that saw neither it nor those left out with it; every plain source by one
    that did not see it."""
    templates = sorted({sentence.template for sentence in marked})
    sources = sorted({sentence.source for sentence in plain})
    random.Random(seed).shuffle(templates)
    outcomes: dict[str, list[Outcome]] = {name: [] for name in ("plain", *dict(VIEWS))}
    for fold in range(min(folds, len(templates))):
        out, out_sources = set(templates[fold::folds]), set(sources[fold::folds])
        rest = [sentence for sentence in plain if sentence.source not in out_sources]
        model = Model(
            train(
                [sentence for sentence in marked if sentence.template not in out],
                rest,
                seed,
                copies=copies,
                steps=steps,
            )
        )
        tested = [sentence for sentence in marked if sentence.template in out]
        for name, look_ahead in VIEWS:
            outcomes[name] += [judge(partial(find, model, look_ahead=look_ahead), sentence) for sentence in tested]
        outcomes["plain"] += [_plain(model, sentence) for sentence in plain if sentence.source in out_sources]
        so_far = f1(*sums(outcomes["prompts"], "all", "all"))
        report(f"part {fold + 1} of {folds}: {len(tested)} sentences; so far F1 {so_far:.3f}")
    return outcomes


def _plain(model: Model, sentence: Sentence) -> Outcome:
    return Outcome(sentence.source, language(sentence.text), Counter(), 0, 0, bool(find(model, sentence.text)))
