"""The training of the models of names and addresses."""

import json
from pathlib import Path

import pytest

from services.guard.redaction.named.entity import ADDRESS, PERSON, Entity
from services.guard.redaction.named.model import FILE, Model, find, load
from services.guard.training import judging, names, scoring
from services.guard.training.sentences import Sentence, digests, filled, own, read_marked

MARKED = [
    Sentence("投保人周慧敏已签字", (Entity(PERSON, 3, 6),), "a", "test"),
    Sentence("Thank you, Sigrid Nyberg.", (Entity(PERSON, 11, 24),), "b", "test"),
    Sentence("We are at 12 Elm Road, Leeds", (Entity(ADDRESS, 10, 28),), "c", "test"),
]
PLAIN = [Sentence("how do i close my account", (), "banking77", "banking77", personal=False)] * 3


def trained() -> str:
    return json.dumps(names.train(MARKED, PLAIN, seed=3, copies=1, steps=4), sort_keys=True)


def test_the_same_seed_gives_the_same_bytes() -> None:
    """Fails if features are numbered in the order of a set."""
    assert trained() == trained()


def test_what_is_shipped_is_small_and_names_its_data() -> None:
    assert FILE.stat().st_size < 2_000_000
    made_from = json.loads(FILE.read_text(encoding="utf-8"))["made_from"]
    assert made_from["seed"] == names.SEED
    assert all(len(digest) == 64 for digest in made_from["data"].values())


def test_the_model_card_names_the_data_that_the_weights_were_made_from() -> None:
    card = (Path(names.__file__).parents[3] / "docs" / "names-model.md").read_text(encoding="utf-8")
    made_from = json.loads(FILE.read_text(encoding="utf-8"))["made_from"]
    assert [name for name, digest in made_from["data"].items() if f"`{digest}`" not in card] == []


def test_no_sentence_of_ours_that_should_be_plain_is_touched() -> None:
    plain = [sentence.text for sentence in own(seed=99, copies=1) if "-plain-" in sentence.template]
    assert [text for text in plain if find(load(), text)] == []


def test_firms_invented_anew_are_hardly_ever_taken_for_persons() -> None:
    """Fails if sentences about firms are left out of the training."""
    firms = [sentence.text for sentence in own(seed=99, copies=1) if "-firms-" in sentence.template]
    assert len([text for text in firms if find(load(), text)]) <= 0.03 * len(firms)


def test_a_filled_template_marks_what_was_filled_in() -> None:
    fillers = {"P": lambda chance: "周慧敏", "NUM": lambda chance: "42"}
    sentence = filled("客户{P}，号{NUM}", fillers, names.random.Random(1), "t")
    assert (sentence.text, sentence.entities) == ("客户周慧敏，号42", (Entity(PERSON, 2, 5),))


def test_marked_sentences_are_read_as_the_guard_reads_them(tmp_path: Path) -> None:
    """Fails if offsets are not moved where a character is left out."""
    row = {
        "text": "户名\u200b：周慧敏",
        "entities": [{"type": PERSON, "start": 4, "end": 7}],
        "template": "x+neg",
        "source": "s",
    }
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    (sentence,) = read_marked(tmp_path / "train.jsonl")
    assert (sentence.text, sentence.entities, sentence.template) == ("户名:周慧敏", (Entity(PERSON, 3, 6),), "x")


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        ([Entity(PERSON, 3, 6)], {(PERSON, "right"): 1}),
        ([Entity(PERSON, 3, 5)], {(PERSON, "wrong"): 1, (PERSON, "missed"): 1}),
        ([Entity(ADDRESS, 7, 9)], {(PERSON, "missed"): 1}),
    ],
)
def test_only_exact_finds_are_right_and_exempt_ones_count_for_nothing(
    answer: list[Entity], counts: dict[tuple[str, str], int]
) -> None:
    sentence = Sentence(MARKED[0].text, MARKED[0].entities, "a", "test", exempt=((7, 9),))
    assert scoring.judge(lambda text: answer, sentence).counts == counts


def test_each_template_is_judged_once_by_a_model_that_did_not_see_it() -> None:
    outcomes = judging.leave_out(MARKED, PLAIN, 3, 3, lambda line: None, copies=1, steps=2)
    assert sorted(outcome.template for outcome in outcomes["prompts"]) == ["a", "b", "c"]
    assert any("PERSON, all" in line for line in scoring.lines(outcomes, scoring.figures(outcomes)))


def test_digests_are_of_the_files_read(tmp_path: Path) -> None:
    (tmp_path / "pii").mkdir()
    (tmp_path / "pii" / "train.jsonl").write_text("")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digests(tmp_path) == {"pii/train.jsonl": empty}


def test_a_file_without_a_table_is_refused() -> None:
    with pytest.raises(KeyError):
        Model({"lexicon": {}})
