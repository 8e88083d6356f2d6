"""Names and addresses: what is found, what is left alone, and that a text's cutting changes nothing."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.guard.policy.loading import load_bundle
from services.guard.redaction.masking import Masking
from services.guard.redaction.named import evidence
from services.guard.redaction.named.entity import LOOK_AHEAD
from services.guard.redaction.named.model import find, load
from services.guard.redaction.named.words import Word
from services.guard.redaction.redactor import Redactor, redact, redact_prompt
from services.guard.settings import SHIPPED_POLICY

BUNDLE = load_bundle(SHIPPED_POLICY)


def found(text: str, look_ahead: int | None = None) -> list[str]:
    return [text[entity.start : entity.end] for entity in find(load(), text, look_ahead)]


@pytest.mark.parametrize("look_ahead", [None, LOOK_AHEAD])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("请联系客户经理曾晓琳,电话13912345678", ["曾晓琳"]),
        ("付款人:欧阳文静,用途:学费", ["欧阳文静"]),
        ("我叫郭建军,要提前还贷", ["郭建军"]),
        ("保单寄到浙江省杭州市余杭区文一西路969号3幢502室,谢谢", ["浙江省杭州市余杭区文一西路969号3幢502室"]),
        ("家庭住址:长沙市岳麓区枫林三路12号", ["长沙市岳麓区枫林三路12号"]),
        ("My name is Eleanor Whitfield and I lost my card.", ["Eleanor Whitfield"]),
        ("Please call Tobias Lindqvist about the margin call.", ["Tobias Lindqvist"]),
        ("I live at 27 Harbour Street, Boston, MA 02118.", ["27 Harbour Street, Boston, MA 02118"]),
        ("受益人是Margaret O. Delgado,账号另附", ["Margaret O. Delgado"]),
    ],
)
def test_names_and_addresses_are_found_to_the_character(text: str, expected: list[str], look_ahead: int | None) -> None:
    assert found(text, look_ahead) == expected


@pytest.mark.parametrize("look_ahead", [None, LOOK_AHEAD])
@pytest.mark.parametrize(
    "text",
    [
        "于是高管决定增持,余额和金额都已核对",
        "李宁公司和周大福的毛利率哪个高?",
        "宁波银行、江苏银行的不良贷款余额",
        "上海市浦东新区的房价走势如何?",
        "财税2019年13号文件怎么理解?",
        "3号线地铁沿线的房价",
        "How does the Sharpe Ratio differ from the Sortino Ratio?",
        "The Bank of England left rates unchanged in August.",
        "Invoice 2231 totals 45,000 Dollars.",
        "Excuse me, Sir, is this a bot?",
        "my phone is 0712 345 678 and my SSN is 180 15 5339",
        "request 3b7e0f52-94ac-4d1e-8c07-a5d6e2f19b83 took Long, retry",
        "commit 9f2d4c1e7ab03d58c6e1f0a4b7d9825e31c6f4a0 Broke the build on Main",
        "object 12ab34cd_56 Moved, session 7C4A8D09CA3762AF61E5 Expired",
        "Goldman Sachs and Eli Lilly fell; Rosalind Holdings and Florence Bakeries rose.",
        "Is the Dodd Frank Act about Freddie Mac?",
        "Kuehne Nagel expects airfreight to recover by autumn.",
        "Beneficiary: Oxfam",
        "Alameda lent to Celsius, Celsius lent to Voyager.",
    ],
)
def test_what_only_looks_like_them_is_left_alone(text: str, look_ahead: int | None) -> None:
    assert found(text, look_ahead) == []


@pytest.mark.parametrize("look_ahead", [None, LOOK_AHEAD])
@pytest.mark.parametrize("behind", ["Bank: HSBC", "Insurance = none", "Bank 4471"])
def test_a_forms_next_field_makes_no_firm_of_the_name_before_it(behind: str, look_ahead: int | None) -> None:
    """Fails if a word of trade behind a name always takes it for a firm's."""
    assert found(f"Name: Eleanor Whitfield {behind}", look_ahead) == ["Eleanor Whitfield"]
    assert found("Name: Eleanor Bank of Commerce", look_ahead) == []


@pytest.mark.parametrize("look_ahead", [None, LOOK_AHEAD])
@pytest.mark.parametrize("behind", ["Director", "March 2024", "CEO", "Customer since 2011"])
def test_a_role_or_a_month_behind_a_name_makes_no_firm_of_it(behind: str, look_ahead: int | None) -> None:
    """Fails if every word that begins no name ends a find."""
    assert found(f"Signed by Eleanor Whitfield {behind}", look_ahead) == ["Eleanor Whitfield"]


def words(text: str) -> list[Word]:
    return load().western.read_all(text.split())


@pytest.mark.parametrize(
    ("before", "name", "lead", "taken"),
    [
        ("asked for", "Eleanor Whitfield", 0.1, True),
        ("asked for", "Eleanor Qwenzi", 0.1, False),
        ("asked for", "Zimbolt Qwenzi", 1.5, False),
        ("asked for", "Zimbolt Qwenzi", 3.0, True),
        ("asked for", "Zimbolt", 3.0, False),
        ("Mr .", "Zimbolt", 0.1, True),
        ("asked Mrs", "Zimbolt", 0.1, True),
    ],
)
def test_the_less_people_are_called_by_a_name_the_surer_it_must_be(
    before: str, name: str, lead: float, taken: bool
) -> None:
    """Fails if a title before a name no longer speaks for it."""
    first, last = words(before)
    assert evidence.enough(evidence.Start(first, last, lead), words(name)) is taken


def test_they_are_masked_in_the_original_whatever_is_invisible_in_it() -> None:
    """Fails if positions in the normalised text are taken for those of the original."""
    text = "收款人：郭\u200b建军，开户行：招商银行"
    assert redact_prompt(BUNDLE.maskings, text).text == "收款人：[REDACTED]，开户行：招商银行"


def pieces(maskings: Mapping[str, Masking], text: str, cuts: Sequence[int]) -> tuple[str, list[tuple[int, int]]]:
    redactor = Redactor(maskings)
    released, findings, begin = "", [], 0
    for end in [*sorted(cuts), len(text)]:
        redactor.push(text[begin:end])
        begin = end
        if end == len(text):
            redactor.end()
        part = redactor.emit(len(text))
        released += part.text
        findings += [(finding.start, finding.end) for finding in part.findings]
    return released, findings


PARTS = [
    "张",
    "欧阳",
    "文静",
    "建军",
    "浙江省",
    "杭州市",
    "余杭区",
    "文一西路",
    "969号",
    "3幢",
    "502室",
    "附近的网点",
    "在",
    "，",
    "户名",
    "客户",
    "电话",
    "5",
    "单元",
    "号楼",
    "上海",
    "Eleanor",
    " ",
    "Whitfield",
    "27 ",
    "Harbour Street",
    ", ",
    "Boston",
    "\n",
    "Suite 4",
    "the corner of ",
    "MA 02118",
    "'s",
    "O'",
    "PSC 12, Box 9",
    ".",
    "@",
    "Mr. ",
    "my name is ",
    "\u200b",
    "94ac-4d1e",
    "Eli Lilly",
    " Bakeries",
    "_",
]
TEXTS = st.lists(st.sampled_from(PARTS), max_size=24).map("".join)


@settings(max_examples=200, deadline=None)
@given(text=TEXTS, data=st.data())
def test_any_cutting_masks_the_same_names_and_addresses(text: str, data: st.DataObject) -> None:
    """Fails if a reader decides before what it looks ahead at is there, or looks back behind what the window keeps."""
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=12))
    the_same_however_cut(text, cuts)


def test_the_beginning_of_an_address_waits_for_its_number() -> None:
    """Fails if `AddressReader` holds back from a division on: the number behind it may be of an older clause."""
    for text in ("张张杭州市969号Whitfield", "张张杭州市969号Whitfield 5", "李家住杭州市的人9号Whitfieldddd"):
        the_same_however_cut(text, [len(text) - 1])


def the_same_however_cut(text: str, cuts: list[int]) -> None:
    whole = redact(BUNDLE.maskings, text)
    expected = (whole.text, [(finding.start, finding.end) for finding in whole.findings])
    assert pieces(BUNDLE.maskings, text, cuts) == expected
    assert pieces(BUNDLE.maskings, text, range(len(text))) == expected


@settings(max_examples=100, deadline=None)
@given(text=TEXTS, rest=TEXTS)
def test_what_ended_long_ago_is_not_changed_by_what_follows(text: str, rest: str) -> None:
    """Fails if an answer's decision reads further than its look-ahead."""
    gap = "。" * (LOOK_AHEAD + 1)
    before = find(load(), text + gap, LOOK_AHEAD)
    after = [entity for entity in find(load(), text + gap + rest, LOOK_AHEAD) if entity.start < len(text)]
    assert before == after


@pytest.mark.parametrize("unit", ["王", "5", "A", "上海", "市", "路1", "Ab ", "的张", "\n7 Oak"])
def test_a_long_text_of_one_thing_is_read_to_its_end(unit: str) -> None:
    text = unit * 3000
    assert all(0 <= entity.start < entity.end <= len(text) for entity in find(load(), text))
