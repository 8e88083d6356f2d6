"""A policy file is right as a whole or names everything that is wrong with it."""

import hashlib
from pathlib import Path

import pytest

from services.guard.policy.bundle import PolicyBundle
from services.guard.policy.loading import InvalidPolicy, load_bundle, parse_bundle
from services.guard.settings import SHIPPED_POLICY

SMALL = """\
format: 1
name: small
version: "1"
system_prompt: {text: Be brief., before_caller_instructions: From the application}
refusal_texts: {zh: 不行, en: No.}
redaction:
  MOBILE_NUMBER: {mode: label, label: "[PHONE]", level: C2}
  BANK_CARD: {mode: redact, label: "[CARD]", level: C2}
  EMAIL_ADDRESS: {mode: partial, label: "[EMAIL]", level: C1}
vocabulary:
  make: [make, 制作]
  weapon: [bomb, 炸弹]
topics:
  - name: violence
    action: refuse
    direction: both
    threshold: 0.5
    lists:
      - {name: words, score: 0.9, words: [beheading]}
    rules:
      - {name: making, all: [make, weapon], within: 10, score: 0.9}
"""


def problems_of(document: str) -> str:
    with pytest.raises(InvalidPolicy) as invalid:
        parse_bundle(document.encode(), "policy.yaml")
    return str(invalid.value)


def test_the_digest_is_of_the_files_bytes(bundle: PolicyBundle) -> None:
    assert bundle.digest == hashlib.sha256(SHIPPED_POLICY.read_bytes()).digest()
    assert bundle.document == SHIPPED_POLICY.read_bytes()


def test_the_shipped_policy_has_what_the_product_promises(bundle: PolicyBundle) -> None:
    assert bundle.refusal_texts["zh"] == "此内容违反使用政策"
    assert bundle.refusal_texts["en"] == "This content violates the usage policy."
    assert [topic.name for topic in bundle.topics] == ["violence_sexual", "conspiracy", "malicious_code"]


def test_the_small_policy_of_these_tests_is_right() -> None:
    assert parse_bundle(SMALL.encode(), "small.yaml").name == "small"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("format: 1", "format: 2", "format: is a format that this version does not know; write 1"),
        ("name: small\n", "", "name: is missing; write a text"),
        ("zh: 不行, ", "", "refusal_texts.zh: is missing"),
        (
            "mode: label",
            "mode: none",
            "redaction.MOBILE_NUMBER.mode: is 'none'; write one of redact, label, partial, token",
        ),
        ("level: C1", "level: C9", "redaction.EMAIL_ADDRESS.level: is 'C9'; write one of C1, C2, C3"),
        ('label: "[CARD]"', 'label: "[4111]"', "redaction.BANK_CARD.label: is '[4111]'"),
        ("  BANK_CARD:", "  BANK_CADR:", "redaction.BANK_CADR: no such key; remove it or correct its name"),
        ("threshold: 0.5", "threshold: 5", "topics[0].threshold: is 5; write a number from 0.01 to 1"),
        ("threshold: 0.5", "threshold: 0.95", "topics[0].threshold: no list or rule scores that high"),
        ("threshold: 0.5", "treshold: 0.5", "topics[0].treshold: no such key"),
        ("action: refuse", "action: ignore", "topics[0].action: is 'ignore'; write one of refuse, flag"),
        (
            "words: [beheading]",
            "words: []",
            "topics[0].lists[0].words: is empty; write at least one text: an empty list",
        ),
        ("words: [beheading]", "words: ['!!']", "topics[0].lists[0].words[0]: '!!' has no letter"),
        ("words: [beheading]", "words: [be*heading]", "'be*heading' has a misplaced *"),
        ("words: [beheading]", "words: ['who? him']", "the word 'who? him' of violence/words would never be found"),
        ("all: [make, weapon]", "all: [make, wepon]", "topics[0].rules[0].all: 'wepon' is not in vocabulary"),
        ("all: [make, weapon]", "all: [make]", "topics[0].rules[0].all: has 1 groups"),
        ("within: 10", "within: 100", "topics[0].rules[0].within: is 100; write a number from 0 to 40"),
        ("weapon: [bomb, 炸弹]", "weapon: []", "vocabulary.weapon: is empty"),
        ("name: small\n", "name: small\nname: large\n", "'name' stands here twice"),
        ("format: 1", "format: [1", "is not YAML"),
    ],
)
def test_what_is_wrong_is_named_with_its_key_and_the_remedy(old: str, new: str, said: str) -> None:
    assert old in SMALL
    assert said in problems_of(SMALL.replace(old, new, 1))


def test_all_problems_are_named_at_once() -> None:
    broken = SMALL.replace("mode: label", "mode: x").replace("action: refuse", "action: y").replace("zh: 不行, ", "")
    assert problems_of(broken).count("policy.yaml: ") == 3


@pytest.mark.parametrize("document", ["", "[]", "text", "null", "topics: 3"])
def test_invariant_7_a_document_that_is_no_policy_is_refused(document: str) -> None:
    """Fails when parse_bundle returns its bundle without looking at problems.lines."""
    problems_of(document)


def test_invariant_7_no_topics_at_all_is_an_error_and_no_open_door() -> None:
    """Fails when _need_topics does not look whether the key is there."""
    without = SMALL[: SMALL.index("topics:")]
    assert "topics: is missing" in problems_of(without)
    assert "topics: is empty" in problems_of(without + "topics: []\n")


def test_a_missing_file_and_wrong_bytes_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidPolicy, match="No such file"):
        load_bundle(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: \xff")
    with pytest.raises(InvalidPolicy, match="byte 6 is not UTF-8"):
        load_bundle(tmp_path / "latin.yaml")
