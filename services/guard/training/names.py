"""Trains the models of names and addresses: `python -m services.guard.training.names DATA`."""

import argparse
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from services.guard.redaction.named import tag_scores, words
from services.guard.redaction.named.chinese_names import Lexicon
from services.guard.redaction.named.model import FILE, Contents, Model
from services.guard.training import examples, firms, invention, softmax
from services.guard.training.sentences import (
    WITHOUT_NAMES,
    WORDS,
    Sentence,
    digests,
    own,
    read_marked,
    read_plain,
    renamed,
)

SEED = 7
COPIES = 4  # fillings of each template of our own
RENAMED = 3  # further copies of each marked sentence, about other people
STEPS = 50
PENALTIES = {"chinese_names": 2e-6, "western": 5e-6}
# How much better than nothing a find must be, in log odds. Chinese: below 0, as most of what is trained on is plain.
# Others: nothing here, as of a name more is asked by what its words are (named/evidence.py).
MARGINS = {"chinese_names": -0.5, "western": 0.0}

Report = Callable[[str], None]


def train(
    marked: Sequence[Sentence],
    plain: Sequence[Sentence],
    seed: int = SEED,
    report: Report = lambda line: None,
    *,
    copies: int = COPIES,
    steps: int = STEPS,
) -> Contents:
    """The weights, as the file holds them. The same sentences and seed give the same weights."""
    chance = random.Random(seed)
    fillers = invention.western(WORDS)
    others = [renamed(sentence, chance, fillers) for sentence in marked if sentence.entities for _ in range(RENAMED)]
    without = [sentence for sentence in plain if sentence.source in WITHOUT_NAMES]
    sentences = [*marked, *others, *own(seed, copies), *without]
    lexicon = _lexicon(plain, sentences)
    report(
        f"{len(sentences)} sentences: {len(marked)} marked, {len(others)} renamed, {len(without)} plain, others our own"
    )
    return {
        "lexicon": lexicon,
        "margins": dict(MARGINS),
        "chinese_names": _train_chinese(lexicon, sentences, steps, report),
        "western": _train_western(lexicon, sentences, steps, report),
    }


def _train_chinese(
    lexicon: Contents, sentences: Sequence[Sentence], steps: int, report: Report
) -> list[dict[str, float]]:
    names = Lexicon(lexicon["surnames"], lexicon["given"], lexicon["words"], lexicon["endings"])
    groups = [group for sentence in sentences for group in examples.name_groups(names, sentence)]
    table, indices, lengths, labels = examples.name_arrays(groups)
    report(
        f"Chinese names: {len(groups)} candidates, {sum(right > 0 for _, right in groups)} names, {len(table)} features"
    )
    gradient = softmax.spans(indices, lengths, labels, len(table), penalty=PENALTIES["chinese_names"])
    weights = softmax.adam(gradient, (len(table),), steps, 0.15, _progress(steps, report))
    tables: list[dict[str, float]] = [{} for _ in range(indices.shape[2])]
    for (number, value), weight in zip(table.features, weights[1:], strict=True):
        if abs(weight) >= 0.02:
            tables[number][value] = round(float(weight), 2)
    return tables


def _train_western(
    lexicon: Contents, sentences: Sequence[Sentence], steps: int, report: Report
) -> list[dict[str, list[float]]]:
    read = words.Lexicon(lexicon["classes"], lexicon["common"])
    rows = [row for sentence in sentences for row in examples.both_views(read, sentence)]
    table, indices, labels, counts = examples.tag_arrays(rows)
    report(f"names and addresses in other scripts: {len(rows)} tokens, {len(labels)} different, {len(table)} features")
    gradient = softmax.tags(indices, labels, counts, len(table), tag_scores.TAGS, penalty=PENALTIES["western"])
    weights = softmax.adam(gradient, (len(table), tag_scores.TAGS), steps, 0.15, _progress(steps, report))
    tables: list[dict[str, list[float]]] = [{} for _ in range(indices.shape[1])]
    for (number, value), row in zip(table.features, weights[1:], strict=True):
        if abs(row).max() >= 0.05:
            tables[number][value] = [round(float(weight), 2) for weight in row]
    return tables


def _progress(steps: int, report: Report) -> Callable[[int, float], None]:
    return lambda step, loss: report(f"  step {step:3d} of {steps}: loss {loss:.5f}") if step % 10 == 0 else None


def _lexicon(plain: Sequence[Sentence], sentences: Sequence[Sentence]) -> Contents:
    classes: dict[str, str] = {}
    for letter, listed in _word_sets().items():
        for word in listed:
            if letter not in classes.get(word, ""):
                classes[word] = classes.get(word, "") + letter
    return {
        "surnames": list(invention.surnames(WORDS)),
        "given": invention.given(WORDS),
        "divisions": list(invention.words(WORDS / "chinese_divisions.txt")),
        "classes": dict(sorted(classes.items())),
        "common": _common(plain),
        "firms": sorted(name.lower() for name in firms.like_persons(WORDS)),
        "words": _words(plain, sentences),
        "endings": _endings(sentences),
    }


def _words(plain: Sequence[Sentence], sentences: Sequence[Sentence]) -> list[str]:
    """Pairs of a surname and a character that is unusual in names, which occur again and again and begin no name."""
    candidates = Lexicon(invention.surnames(WORDS), invention.given(WORDS))
    pairs: Counter[str] = Counter()
    for sentence in (*plain, *(one for one in sentences if not one.entities)):
        found = (match.start() for match in candidates.candidate.finditer(sentence.text))
        pairs.update({sentence.text[start : start + 2] for start in found})
    names = {one.text[entity.start : entity.start + 2] for one in sentences for entity in one.entities}
    return sorted(
        pair
        for pair, count in pairs.items()
        if count >= _OFTEN and pair not in names and candidates.rank.get(pair[1], "-") not in "ab"
    )


_JOINTS = "给付对由在和与是为叫向问找请让被把从跟同及等"  # what may stand before a name


def _endings(sentences: Sequence[Sentence]) -> list[str]:
    """Ordinary words of ours that end with a surname's character and are not how a name begins behind a character."""
    surnames = set(invention.surnames(WORDS))
    names = {one.text[max(0, entity.start - 1) : entity.start + 1] for one in sentences for entity in one.entities}
    listed = {word for word in invention.words(WORDS / "chinese_words.txt") if len(word) == 2}
    return sorted(word for word in listed - names if word[1] in surnames and word[0] not in _JOINTS)


def _word_sets() -> dict[str, list[str]]:
    """A letter for each set of words; the order is that of the letters in a token's sort."""
    sets = {
        "G": [word.lower() for word in invention.words(WORDS / "western_given.txt")],
        "S": [word.lower() for word in invention.words(WORDS / "western_surnames.txt")],
        "L": [word.lower() for word in invention.words(WORDS / "places.txt")],
    }
    letters = {
        "street": "R",
        "unit": "U",
        "title": "T",
        "company": "C",
        "calendar": "M",
        "particle": "V",
        "suffix": "Z",
        "title_role": "K",
        "method": "W",
        "brand": "B",
        "grammar": "F",
    }
    for line in (WORDS / "western_words.txt").read_text(encoding="utf-8").splitlines():
        kind, _, listed = line.partition(":")
        if kind in letters:
            sets[letters[kind]] = listed.split()
    return sets


_SMALL_WORD = re.compile(r"(?<![\w])[a-z]{2,14}(?![\w])")
_OFTEN = 3  # times a word must be written in small letters before it is an ordinary one


def _common(plain: Sequence[Sentence]) -> list[str]:
    """Words that are written in small letters again and again: in capitals, too, they name nobody."""
    names = {word.lower() for word in invention.words(WORDS / "western_given.txt")}
    sure = set(firms.listed(WORDS, "both"))
    seen: Counter[str] = Counter()
    for sentence in plain:
        seen.update(set(_SMALL_WORD.findall(sentence.text)))
    often = {
        word for word, count in seen.items() if count >= _OFTEN and (word not in names or word in sure or count > 40)
    }
    surnames = {word.lower() for word in invention.words(WORDS / "western_surnames.txt")}
    ordinary = {
        word
        for name in ("ordinary", "business", "general", "world")
        for word in invention.words(WORDS / f"{name}_words.txt")
    }
    return sorted(often | sure | ordinary - names - surnames)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m services.guard.training.names", description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the guard data: pii/train.jsonl and train/*.jsonl")
    parser.add_argument("--out", type=Path, default=FILE, help="the weights file to write")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument(
        "--leave-out", type=int, metavar="FOLDS", help="judge instead: each template left out once, in FOLDS parts"
    )
    chosen = parser.parse_args(arguments)
    report: Report = lambda line: print(line, file=sys.stderr, flush=True)
    marked, plain = read_marked(chosen.data / "pii" / "train.jsonl"), read_plain(chosen.data / "train")
    if chosen.leave_out:
        from services.guard.training import judging, scoring

        scoring.print_table(judging.leave_out(marked, plain, chosen.leave_out, chosen.seed, report))
        return
    contents = train(marked, plain, chosen.seed, report)
    contents["made_from"] = {"seed": chosen.seed, "data": digests(chosen.data)}
    Model(contents)  # what is written can be read
    chosen.out.write_text(
        json.dumps(contents, ensure_ascii=False, separators=(",", ":"), sort_keys=True) + "\n", encoding="utf-8"
    )
    report(f"wrote {chosen.out}: {chosen.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
