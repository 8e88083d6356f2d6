"""Finance prose that names nobody, written before any model had read it: every find in it is wrong; and who is named in
other prose is found.

The `fresh_` and `people_` files are the judgement: nothing in them was tuned by. The others have been read."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.redaction.prose import FRESH, finance_prose, people
from services.guard.redaction.named.entity import LOOK_AHEAD, Entity
from services.guard.redaction.named.model import find, load
from services.guard.training.sentences import WORDS, Sentence, as_read

WORKLOAD = Path(__file__).parents[3] / "benchmarks" / "data" / "workload.jsonl"
# Of them may be touched.
MOST = {
    "fresh_english": 0.025,
    "fresh_chinese": 0.01,
    "second_english": 0.01,
    "second_chinese": 0.01,
    "tuned_english": 0.02,
    "english": 0.02,
    "chinese": 0.01,
}
LEAST = {"english": 400, "chinese": 200}  # sentences of a judgement
# Of those that are named the share that is found and masked whole, in prompts and in answers.
MASKED = {"people_english": (0.66, 0.6), "people_chinese": (0.8, 0.8)}


def touched(texts: Sequence[str], look_ahead: int | None) -> list[str]:
    read = [as_read(Sentence(text, (), "", "", personal=False)).text for text in texts]
    return [text for text in read if find(load(), text, look_ahead)]


@pytest.mark.parametrize("look_ahead", [None, LOOK_AHEAD])
@pytest.mark.parametrize("name", MOST)
def test_finance_prose_that_names_nobody_is_left_alone(name: str, look_ahead: int | None) -> None:
    """Fails if `evidence.enough` asks nothing of a name."""
    texts = dict(finance_prose())[name]
    assert len(touched(texts, look_ahead)) <= MOST[name] * len(texts)


def test_the_judgement_is_large_enough_to_judge() -> None:
    sizes = {name: len(texts) for name, texts in finance_prose()}
    assert all(sizes[FRESH + language] >= least for language, least in LEAST.items())


@pytest.mark.parametrize(("place", "look_ahead"), [(0, None), (1, LOOK_AHEAD)])
@pytest.mark.parametrize("name", MASKED)
def test_who_is_named_in_such_prose_is_found(name: str, place: int, look_ahead: int | None) -> None:
    """Fails if `evidence.UNKNOWN` is doubled."""
    masked = total = 0
    for row in dict(people())[name].rows:
        named = tuple(Entity(one.label, one.start, one.end) for one in row.entities)
        read = as_read(Sentence(row.text, named, "", ""))
        covered = {at for one in find(load(), read.text, look_ahead) for at in range(one.start, one.end)}
        total += len(read.entities)
        masked += sum(covered.issuperset(range(one.start, one.end)) for one in read.entities)
    assert total >= 50
    assert masked >= MASKED[name][place] * total


@pytest.mark.parametrize("look_ahead", [None, LOOK_AHEAD])
def test_the_firms_of_the_benchmarks_prompts_are_taken_for_nobody(look_ahead: int | None) -> None:
    rows = WORKLOAD.read_text(encoding="utf-8").splitlines()
    assert touched([json.loads(row)["messages"][-1]["content"] for row in rows], look_ahead) == []


def test_nothing_of_it_is_trained_on() -> None:
    """Fails if a line of the prose is added to the words that the training reads."""
    trained = "\n".join(path.read_text(encoding="utf-8") for path in sorted(WORDS.glob("*.txt")))
    lines = [line for _, texts in finance_prose() for line in texts] + [
        row.text for _, rows in people() for row in rows.rows
    ]
    assert len(lines) > 1500
    assert [line for line in lines if line in trained] == []
