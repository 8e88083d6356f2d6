"""Finance prose that names nobody, written before any model had read it: every find in it is wrong.

The `final_` files are the judgement: nothing was tuned by them. What the first two showed has been read since."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from services.guard.redaction.named.entity import LOOK_AHEAD
from services.guard.redaction.named.model import find, load
from services.guard.training.sentences import WORDS, Sentence, as_read

PROSE = Path(__file__).parent / "unseen_prose"
WORKLOAD = Path(__file__).parents[3] / "benchmarks" / "data" / "workload.jsonl"
MOST = {"final_english": 0.02, "final_chinese": 0.01, "english": 0.02, "chinese": 0.01}  # of them may be touched
LEAST = 300  # sentences of a final judgement


def lines(language: str) -> list[str]:
    written = (PROSE / f"{language}.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in written if not line.startswith("# ")]


def touched(texts: Sequence[str], look_ahead: int | None) -> list[str]:
    read = [as_read(Sentence(text, (), "", "", personal=False)).text for text in texts]
    return [text for text in read if find(load(), text, look_ahead)]


@pytest.mark.parametrize("look_ahead", [None, LOOK_AHEAD])
@pytest.mark.parametrize("language", MOST)
def test_finance_prose_that_names_nobody_is_left_alone(language: str, look_ahead: int | None) -> None:
    """Fails if the words of trades are taken out of the class of firms."""
    texts = lines(language)
    assert len(texts) >= LEAST or not language.startswith("final")
    assert len(touched(texts, look_ahead)) <= MOST[language] * len(texts)


@pytest.mark.parametrize("look_ahead", [None, LOOK_AHEAD])
def test_the_firms_of_the_benchmarks_prompts_are_taken_for_nobody(look_ahead: int | None) -> None:
    rows = WORKLOAD.read_text(encoding="utf-8").splitlines()
    assert touched([json.loads(row)["messages"][-1]["content"] for row in rows], look_ahead) == []


def test_nothing_of_it_is_trained_on() -> None:
    """Fails if a line of the prose is added to the words that the training reads."""
    trained = "\n".join(path.read_text(encoding="utf-8") for path in sorted(WORDS.glob("*.txt")))
    assert [line for language in MOST for line in lines(language) if line in trained] == []
