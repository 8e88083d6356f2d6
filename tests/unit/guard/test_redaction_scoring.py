"""What the redaction benchmark counts as masked, touched and exact."""

from pathlib import Path

from benchmarks.redaction.prose import finance_prose, harmless_prompts, marked, touched
from benchmarks.redaction.rows import Corpus, Place, Row, written_form
from benchmarks.redaction.scoring import Share, judge

CALL = Row("call 13912345678 or 95533", (Place("CN_MOBILE", 5, 16),), (Place("HOTLINE", 20, 25),))
QUIET = Row("12:30 in May", (), (), (Place("DATE_TIME", 0, 5),))


def test_an_entity_is_masked_only_if_every_character_of_it_is() -> None:
    """Fails if an overlap counts as masked."""
    for place, hits in (((5, 16), 1), ((0, 20), 1), ((5, 15), 0), ((6, 16), 0)):
        score = judge(Corpus([CALL]), [[Place("MOBILE_NUMBER", *place)]])
        assert (score.structured.hits, score.structured.all) == (hits, 1)


def test_two_places_may_cover_an_entity_together_and_are_not_exact() -> None:
    score = judge(Corpus([CALL]), [[Place("MOBILE_NUMBER", 5, 9), Place("PHONE_NUMBER", 9, 16)]])
    assert score.structured.hits == 1
    assert score.exact_structured().figures() == (0.0, 0.0, 0.0)


def test_exact_means_the_same_place_and_a_class_that_is_right() -> None:
    for entity, f1 in (("MOBILE_NUMBER", 1.0), ("BANK_CARD", 0.0)):
        assert judge(Corpus([CALL]), [[Place(entity, 5, 16)]]).exact_structured().figures()[2] == f1


def test_names_have_figures_of_their_own_beside_those_of_the_structured_classes() -> None:
    """Fails if a name that is found counts among the structured classes."""
    row = Row("王芳13912345678", (Place("PERSON", 0, 2), Place("CN_MOBILE", 2, 13)))
    score = judge(Corpus([row]), [[Place("PERSON_NAME", 0, 2), Place("PERSON_NAME", 2, 4)]])
    assert score.exact["PERSON"].figures() == (0.5, 1.0, 2 / 3)
    assert score.interval_of_f1("PERSON") == (2 / 3, 2 / 3)
    assert score.exact_structured().figures() == (0.0, 0.0, 0.0)


def test_a_text_counts_once_however_much_is_found_in_it() -> None:
    name, call = Place("PERSON_NAME", 0, 2), Place("PHONE_NUMBER", 3, 9)
    told = touched([[name, name, call], [name], []]).summary()
    assert (told["touched"]["hits"], told["by_structured_classes"]["hits"], told["touched"]["of"]) == (2, 1, 3)
    assert told["classes"] == {"PERSON_NAME": 2, "PHONE_NUMBER": 1}


def test_texts_that_nobody_labelled_are_our_own_prose_and_what_a_folder_calls_benign(tmp_path: Path) -> None:
    assert all(len(texts) > 100 for _, texts in finance_prose())
    (tmp_path / "train").mkdir()
    rows = '{"text": "a", "label": "benign"}\n{"text": "b", "label": "violation"}\n'
    (tmp_path / "train" / "one.jsonl").write_text(rows)
    assert harmless_prompts(tmp_path) == ["a"]


def test_marks_are_read_as_places_and_are_no_part_of_the_text() -> None:
    row = marked("To: [P Ann Lee]\n[A 5 Elm Way], today")
    assert row.text == "To: Ann Lee\n5 Elm Way, today"
    assert [(one.label, row.text[one.start : one.end]) for one in row.entities] == [
        ("PERSON", "Ann Lee"),
        ("ADDRESS", "5 Elm Way"),
    ]


def test_a_hard_negative_is_touched_by_one_character() -> None:
    assert judge(Corpus([CALL]), [[Place("PHONE_NUMBER", 24, 25)]]).negatives.hits == 1


def test_a_hit_out_of_scope_is_neither_right_nor_wrong() -> None:
    assert judge(Corpus([QUIET]), [[Place("DATE_OF_BIRTH", 0, 5)]]).harmless.hits == 0
    assert judge(Corpus([QUIET]), [[Place("DATE_OF_BIRTH", 9, 12)]]).harmless.hits == 1


def test_the_interval_is_wilsons() -> None:
    low, high = Share(0, 527).interval
    assert low < 1e-9 and 0.7 < high < 0.75


def test_the_written_form_is_read_from_the_characters() -> None:
    forms = {
        "13912345678": "plain",
        "１３９": "full-width",
        "139 1234 5678": "spaced",
        "139-1234-5678": "dashed",
        "139.1234.5678": "dotted",
        "+86 139 1234 5678": "country code",
        "1\u200b39": "invisible",
        "一三九一二三四五六七八": "Chinese digits",
        "\\u0031": "escaped",
        "a.b-c@example.com": "plain",
    }
    assert {value: written_form(value) for value in forms} == forms
