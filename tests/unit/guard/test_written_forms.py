"""Personal data is found in every form it is written in, wherever it stands, at its exact place."""

import json
from collections.abc import Mapping

import pytest

from services.guard.redaction.characters import folded, invisible
from services.guard.redaction.masking import Masking
from services.guard.redaction.redactor import Redactor, redact

MOBILE, CARD, EMAIL = "MOBILE_NUMBER", "BANK_CARD", "EMAIL_ADDRESS"
WIDE = str.maketrans("0123456789@.", "０１２３４５６７８９＠．")
CHINESE = str.maketrans("0123456789", "〇一二三四五六七八九")
FORMAL = str.maketrans("0123456789", "零壹贰叁肆伍陆柒捌玖")
SPOKEN = str.maketrans("0123456789", "零幺二三四五六七八九")


def grouped(digits: str, sizes: tuple[int, ...], separator: str) -> str:
    groups, start = [], 0
    for size in sizes:
        groups.append(digits[start : start + size])
        start += size
    return separator.join(group for group in groups if group)


NUMBER = "13912345678"
MOBILES = [
    NUMBER,
    *(
        grouped(NUMBER, (3, 4, 4), separator)
        for separator in (" ", "-", ".", "·", "—", "  ", " - ", "\u00a0", "\u3000", "/")
    ),
    grouped(NUMBER, (3, 3, 5), " "),
    grouped(NUMBER, (4, 4, 3), "-"),
    " ".join(NUMBER),
    "-".join(NUMBER),
    *(
        prefix + NUMBER
        for prefix in ("+86", "+86 ", "+86-", "0086", "0086 ", "86", "86-", "(+86)", "（+86）", "(86) ", "＋８６")
    ),
    "+86 " + grouped(NUMBER, (3, 4, 4), " "),
    "(139)1234 5678",
    NUMBER.translate(WIDE),
    grouped(NUMBER, (3, 4, 4), "－").translate(WIDE),
    NUMBER.translate(CHINESE),
    NUMBER.translate(FORMAL),
    NUMBER.translate(SPOKEN),
    "139一二三四5678",
    "\u200b".join(NUMBER),
    grouped(NUMBER, (3, 4, 4), "\u200d"),
    "1\ufe0f\u20e3".join(("", "39")) + "1\u00ad2\u20603\ufeff4\u202e5678",
]
VISA, UNION, AMEX = "4111111111111111", "6222020897949459357", "347415977307943"
CARDS = [
    *(card for card in (VISA, UNION, AMEX)),
    *(grouped(VISA, (4, 4, 4, 4), separator) for separator in (" ", "-", ".", "·", "\u00a0", "—")),
    *(grouped(UNION, (4, 4, 4, 4, 3), separator) for separator in (" ", "-", ".")),
    grouped(UNION, (6, 13), " "),
    grouped(AMEX, (4, 6, 5), " "),
    UNION.translate(WIDE),
    grouped(UNION, (4, 4, 4, 4, 3), "　").translate(WIDE),
    UNION.translate(CHINESE),
    "\u200b".join(UNION),
    grouped(VISA, (4, 4, 4, 4), "\u2060-"),
    " ".join(VISA),
]
EMAILS = [
    "zhang.wei@example.com",
    "ZHANG.WEI@EXAMPLE.COM.CN",
    "Zhang_Wei+tag%1@sub.dept-2.Example.co.uk",
    "zhang.wei@example.com".translate(WIDE),
    "zhang.wei＠example．com",
    "13912345678@163.com",
    "zhang\u200b.wei@exa\u00admple.com",
    "zhangwei@例子.中国",
    "zhangwei@example.中国",
    "zhangwei@例子.com",
    "zhangwei@bücher.de",
    "zhangwei @ example.com",
    "zhangwei@example。com",
    "zhangwei%40example.com",
]
CASES = [(MOBILE, form) for form in MOBILES] + [(CARD, form) for form in CARDS] + [(EMAIL, form) for form in EMAILS]

CONTEXTS = [
    ("", ""),
    ("请联系他", "谢谢您"),
    ("我的信息是：", "，请查收。"),
    ("“", "”一直没有更新"),
    ("The customer gave ", " as contact."),
    ("Please use (", "), thanks"),
    ('{"contact":"', '","ok":true}'),
    ("https://bank.example/q?user=", "&lang=zh"),
    ("第一行\n", "\n第三行"),
]


@pytest.mark.parametrize(("before", "after"), CONTEXTS)
@pytest.mark.parametrize(("entity", "form"), CASES)
def test_a_form_is_masked_whole_and_nothing_else(
    maskings: Mapping[str, Masking], entity: str, form: str, before: str, after: str
) -> None:
    redaction = redact(maskings, before + form + after)
    assert redaction.text == f"{before}[REDACTED]{after}"
    (finding,) = redaction.findings
    assert (finding.entity, finding.start, finding.end) == (entity, len(before), len(before) + len(form))
    assert finding.level == "C2"


@pytest.mark.parametrize(("entity", "form"), CASES)
def test_invariant_3_no_piece_of_a_form_leaves_at_any_cut(
    maskings: Mapping[str, Masking], entity: str, form: str
) -> None:
    """Fails when NumberDetector.advance or EmailDetector.advance sets `settled` to len(window) before deciding."""
    before, after = "客户留的是", "，请尽快回访。"
    text = before + form + after
    for cut in range(len(text) + 1):
        redactor = Redactor(maskings)
        redactor.push(text[:cut])
        first = redactor.emit(cut).text
        assert before.startswith(first) or first.startswith(f"{before}[REDACTED]"), f"{first!r} left at cut {cut}"
        redactor.push(text[cut:])
        redactor.end()
        assert first + redactor.emit(len(text)).text == f"{before}[REDACTED]{after}"


@pytest.mark.parametrize(("entity", "form"), CASES)
def test_a_form_in_escaped_json_is_masked(maskings: Mapping[str, Masking], entity: str, form: str) -> None:
    if not form.isascii() and entity == EMAIL:
        pytest.skip("an address whose own letters are escaped is no written form of it")
    text = json.dumps({"note": f"电话{form}谢谢"})
    redaction = redact(maskings, text)
    assert [finding.entity for finding in redaction.findings] == [entity]
    assert json.loads(redaction.text) == {"note": "电话[REDACTED]谢谢"}


@pytest.mark.parametrize(
    "prefix", ["TEL", "tel:", "phone", "mobile=", "手机", "电话\\n", "user_", "\\u7535\\u8bdd", "%E8%AF%9D"]
)
def test_a_number_glued_to_a_word_is_found(maskings: Mapping[str, Masking], prefix: str) -> None:
    assert redact(maskings, f"{prefix}{NUMBER}").text == f"{prefix}[REDACTED]"


def test_a_finding_does_not_carry_the_text(maskings: Mapping[str, Masking]) -> None:
    redaction = redact(maskings, f"电话{NUMBER}")
    assert NUMBER not in repr(redaction)


@pytest.mark.parametrize(
    ("mode", "masked"),
    [
        ("redact", "[REDACTED] [REDACTED] [REDACTED]"),
        ("label", "[MOBILE_NUMBER] [BANK_CARD] [EMAIL_ADDRESS]"),
        ("partial", "139****5678 411111******1111 zha***@example.com"),
    ],
)
def test_each_mode_writes_its_mask(mode: str, masked: str) -> None:
    maskings = {entity: Masking(entity, mode, f"[{entity}]", "C2") for entity in (MOBILE, CARD, EMAIL)}
    assert redact(maskings, f"{NUMBER} {VISA} zhang.wei@example.com").text == masked


def test_a_partial_mask_shows_the_digits_of_every_writing() -> None:
    maskings = {entity: Masking(entity, "partial", f"[{entity}]", "C2") for entity in (MOBILE, CARD, EMAIL)}
    assert redact(maskings, f"+86 {grouped(NUMBER, (3, 4, 4), '-').translate(WIDE)}").text == "139****5678"


def test_a_mask_stands_in_its_place_behind_the_voicing_marks_of_half_width_kana(
    maskings: Mapping[str, Masking],
) -> None:
    assert redact(maskings, f"ｶﾞｷﾞｸﾟ 电话{NUMBER}。").text == "ｶﾞｷﾞｸﾟ 电话[REDACTED]。"


def test_only_what_is_invisible_is_left_out_of_the_plain_text() -> None:
    """Fails if a visible character is folded to nothing: every mask behind it moves by one."""
    points = [*range(0x3400), *range(0xA000, 0xD800), *range(0xE000, 0x10000)]
    assert [hex(point) for point in points if not folded(chr(point)) and not invisible(chr(point))] == []
