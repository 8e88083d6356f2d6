"""A thousand invented entities of every class and form: masked whole, nothing else touched, the same at every cut."""

import random

import pytest

from benchmarks.redaction import sentences
from benchmarks.redaction.rows import Corpus, Place
from benchmarks.redaction.scoring import judge
from services.guard.policy.bundle import PolicyBundle
from services.guard.policy.output_filter import OutputFilter
from services.guard.redaction.classes import ENTITIES
from services.guard.redaction.redactor import redact

ENTITIES_IN_IT = 1_000
RANDOM_CUTS, SEED = 3, 11643


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Other values and other choices than those that `python -m benchmarks.redaction own` judges."""
    return sentences.corpus(ENTITIES_IN_IT, seed=SEED)


def test_every_class_is_masked_in_every_form_and_nothing_else_is(bundle: PolicyBundle, corpus: Corpus) -> None:
    """Fails if a recognizer is taken out of the table, or a word such as 订单 out of the context."""
    found = [[Place(f.entity, f.start, f.end) for f in redact(bundle.maskings, text).findings] for text in corpus.texts]
    score = judge(corpus, found)
    assert score.misses == []
    assert {label for label, _ in score.masked.items()} == set(ENTITIES) - {
        "SWIFT_CODE",
        "PERSON_NAME",
        "POSTAL_ADDRESS",
    }
    precision, recall, _ = score.exact_structured().figures()
    assert recall > 0.97 and precision > 0.97


def released(bundle: PolicyBundle, text: str, cuts: tuple[int, ...]) -> str:
    output_filter, start, out = OutputFilter(bundle), 0, ""
    for end in (*cuts, len(text)):
        out += output_filter.feed(text[start:end]).released
        start = end
    return out + output_filter.finish().released


def test_invariant_3_every_split_point_of_a_thousand_entities_gives_the_same_bytes(
    bundle: PolicyBundle, corpus: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fails if `cut` takes a stretch for whole that more text could lengthen."""
    chance, tried = random.Random(SEED), 0
    for row in corpus.rows:
        if row.harmless:
            continue
        whole = redact(bundle.maskings, row.text).text
        for cut in range(1, len(row.text)):
            assert released(bundle, row.text, (cut,)) == whole, (row.text, cut)
            tried += 1
        for _ in range(RANDOM_CUTS):
            places = chance.sample(range(1, len(row.text)), min(5, len(row.text) - 1))
            assert released(bundle, row.text, tuple(sorted(places))) == whole, (row.text, places)
    with capsys.disabled():
        print(f"\n{tried} split points of {ENTITIES_IN_IT} entities tried")
    assert tried > 20_000


def test_the_whole_corpus_as_one_answer_is_the_same_in_any_pieces(bundle: PolicyBundle, corpus: Corpus) -> None:
    text = "\n".join(row.text for row in corpus.rows[:400])
    chance = random.Random(SEED)
    whole = redact(bundle.maskings, text).text
    for most in (1, 7, 40):
        cuts, at = [], 0
        while at < len(text):
            at += chance.randrange(1, most + 1)
            cuts.append(min(at, len(text)))
        assert released(bundle, text, tuple(cuts)) == whole
