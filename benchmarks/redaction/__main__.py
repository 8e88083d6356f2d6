"""How much of the personal data in labelled sentences is masked, and what else is.

Reads every *.jsonl under DIR: one object a line with `text`, `entities` (type, start, end), and where there are
`negatives` (spans that only look like personal data), `other_spans` (out of scope), `lang`, `source`, `template`,
`variant` (the written form). Judges the shipped policy, as prompts are read and as answers are, three plain patterns
as the floor, and Presidio where `make redaction-peers` has installed it. A piece counts as masked only if every
character of it is. Beside it: texts that nobody labelled (our own finance prose; DIR's train/*.jsonl), and, where DIR
is what the model of names was trained on, models that did not see a template judging it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.redaction import left_out, prose, sentences
from benchmarks.redaction.rows import WRITTEN_FREELY, Corpus, read
from benchmarks.redaction.scoring import STRUCTURED, Score, Share, judge
from benchmarks.redaction.systems import contenders, ours
from benchmarks.report import arguments, machine, table, write

OWN = 6_000  # entities of our own sentences


def main() -> None:
    parser = arguments("redaction")
    parser.add_argument("folder", metavar="DIR", type=Path, help="a folder of labelled sentences, or own: ours")
    parser.add_argument("--misses", type=int, default=0, metavar="N", help="show the first N mistakes of ours")
    parser.add_argument("--by", choices=("source", "lang", "template"), help="ours again for each of these alone")
    parser.add_argument(
        "--folds", type=int, default=left_out.FOLDS, help="parts in which templates are left out; 0 trains nothing"
    )
    options = parser.parse_args()
    corpus = sentences.corpus(OWN) if str(options.folder) == "own" else read(options.folder)
    if not corpus.rows:
        parser.error(f"{options.folder}: no line with `text` and `entities`; name a folder of labelled sentences")
    answers = {name: masks(corpus.texts) for name, masks in contenders().items()}
    scores = {name: judge(corpus, answer) for name, answer in answers.items()}
    show(corpus, scores)
    if options.by:
        _show_parts(corpus, answers["strongroom"], options.by)
    for line in scores["strongroom"].misses[: options.misses]:
        print(line)
    result = {"rows": len(corpus.rows), "systems": {name: summary(score) for name, score in scores.items()}}
    result["people"] = _people()
    result["unlabelled"] = _unlabelled(options.folder)
    if options.folds and left_out.trained_on(options.folder):
        result["templates_left_out"] = _left_out(options.folder, options.folds)
    write(options.json, result)


def _unlabelled(folder: Path) -> dict[str, Any]:
    sets = prose.judged(folder, ours())
    rows = [
        [name, side, _cell(one.texts), _cell(one.structured), ", ".join(f"{n} {label}" for label, n in kinds)]
        for name, sides in sets.items()
        for side, one in sides.items()
        for kinds in [one.classes.most_common(4)]
    ]
    header = ["texts that nobody labelled", "read as", "touched", "by structured classes", "by class, texts"]
    print("\n" + table(header, rows))
    return {name: {side: one.summary() for side, one in sides.items()} for name, sides in sets.items()}


def _people() -> dict[str, Any]:
    """Whether those are still found whom our own prose names."""
    scores = {
        (name, side): judge(corpus, masks(corpus.texts))
        for name, corpus in prose.people()
        for side, masks in ours().items()
    }
    rows = [
        [name, side, _cell(_masked(score)), *(_exact(score, label) for label in sorted(WRITTEN_FREELY))]
        for (name, side), score in scores.items()
    ]
    labels = [f"{label}, exact P / R / F1" for label in sorted(WRITTEN_FREELY)]
    print("\n" + table(["who is named in our own prose", "read as", "fully masked", *labels], rows))
    return {f"{name}, {side}": summary(score) for (name, side), score in scores.items()}


def _masked(score: Score) -> Share:
    return Share(*(sum(getattr(share, part) for share in score.masked.values()) for part in ("hits", "all")))


def _left_out(folder: Path, folds: int) -> dict[str, Any]:
    measured, lines = left_out.measured(left_out.judged(folder, folds))
    print(f"\nnames and addresses, each template judged by a model without it ({folds} parts)\n")
    print("\n".join(lines))
    return measured


def summary(score: Score) -> dict[str, Any]:
    precision, recall, f1 = score.exact_structured().figures()
    return {
        "structured_masked": _figures(score.structured),
        "negatives_touched": _figures(score.negatives),
        "harmless_touched": _figures(score.harmless),
        "exact": {"precision": precision, "recall": recall, "f1": f1, "f1_interval": score.interval_of_f1()},
        "f1_interval_by_class": {part: score.interval_of_f1(part) for part in score.per_row if part != STRUCTURED},
        "by_class": {label: _figures(share) for label, share in sorted(score.masked.items())},
        "by_form": {form: _figures(share) for form, share in sorted(score.forms.items())},
        "negatives_by_kind": {kind: _figures(share) for kind, share in sorted(score.touched.items())},
        "exact_by_class": {label: one.figures() for label, one in sorted(score.exact.items())},
        "confused": [[*pair, count] for pair, count in score.confusions.most_common(20)],
    }


def _figures(share: Share) -> dict[str, Any]:
    return {"percent": share.percent, "interval": share.interval, "of": share.all}


def show(corpus: Corpus, scores: dict[str, Score]) -> None:
    print(" · ".join(f"{name} {value}" for name, value in machine().items()))
    print(f"{len(corpus.rows)} sentences; shares in % with 95 % intervals")
    rows = [
        ["structured classes fully masked", *(_cell(score.structured) for score in scores.values())],
        ["hard negatives touched", *(_cell(score.negatives) for score in scores.values())],
        ["sentences without personal data touched", *(_cell(score.harmless) for score in scores.values())],
        ["structured, exact P / R / F1", *(_exact(score) for score in scores.values())],
        *(
            [f"{label}, exact P / R / F1", *(_exact(one, label) for one in scores.values())]
            for label in sorted(WRITTEN_FREELY)
        ),
    ]
    print("\n" + table(["", *scores], rows))
    for title, part in (("fully masked, by class", "masked"), ("by written form", "forms"), ("touched", "touched")):
        keys = sorted({key for score in scores.values() for key in getattr(score, part)})
        rows = [[key, *(_cell(getattr(score, part)[key]) for score in scores.values())] for key in keys]
        print("\n" + table([title, *scores], rows))
    ours = scores["strongroom"]
    exact = [[label, *one.figures(), one.expected] for label, one in sorted(ours.exact.items())]
    print("\n" + table(["ours, exact", "precision", "recall", "F1", "of"], exact))
    if ours.confusions:
        print("\n" + table(["taken for", "", "times"], [[*pair, n] for pair, n in ours.confusions.most_common(12)]))


def _show_parts(corpus: Corpus, answer: Any, key: str) -> None:
    """No recognizer of structure is trained, so that every template is one left out."""
    name = {"lang": "language"}.get(key, key)
    rows = []
    for value in sorted({getattr(row, name) for row in corpus.rows}):
        chosen = [at for at, row in enumerate(corpus.rows) if getattr(row, name) == value]
        score = judge(Corpus([corpus.rows[at] for at in chosen]), [answer[at] for at in chosen])
        rows.append([value, *(_cell(share) for share in (score.structured, score.negatives, score.harmless))])
    print("\n" + table([key, "structured masked", "negatives touched", "harmless touched"], rows))


def _cell(share: Share) -> str:
    low, high = share.interval
    return f"{share.percent:.2f} ({low:.1f}-{high:.1f}, {share.all})" if share.all else "-"


def _exact(score: Score, part: str = STRUCTURED) -> str:
    low, high = score.interval_of_f1(part)
    one = score.exact_structured() if part == STRUCTURED else score.exact[part]
    return " / ".join(f"{figure:.3f}" for figure in one.figures()) + f" ({low:.3f}-{high:.3f})"


if __name__ == "__main__":
    main()
