"""The same sentences read by jieba, where it is installed: `python -m services.guard.training.peers DATA`."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from services.guard.redaction.named.entity import PERSON, Entity
from services.guard.training.scoring import f1, interval, judge, language, sums
from services.guard.training.sentences import read_marked


def jieba_names(text: str) -> Sequence[Entity]:
    """What jieba's dictionary and its hidden Markov model tag as a person's name (nr)."""
    from jieba import posseg  # type: ignore[import-not-found]

    found, place = [], 0
    for word, flag in posseg.cut(text):
        if flag.startswith("nr") and len(word) > 1:
            found.append(Entity(PERSON, place, place + len(word)))
        place += len(word)
    return found


def main() -> None:
    marked = read_marked(Path(sys.argv[1]) / "pii" / "train.jsonl")
    sentences = [one for one in marked if language(one.text) == "zh"]
    outcomes = [judge(jieba_names, sentence) for sentence in sentences]
    right, wrong, missed = sums(outcomes, "all", PERSON)
    low, high = interval(outcomes, lambda some: f1(*sums(some, "all", PERSON)))
    touched = Counter(outcome.touched for outcome in outcomes)
    print(f"Chinese names by jieba: precision {right / (right + wrong):.3f}, recall {right / (right + missed):.3f}")
    print(f"exact F1 {f1(right, wrong, missed):.3f} ({low:.3f}-{high:.3f})")
    print(f"sentences without personal data touched: {touched[True]} of {touched[True] + touched[False]}")


if __name__ == "__main__":
    main()
