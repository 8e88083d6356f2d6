"""Classes by their structure, check digits and context: texts of one finding each, and their likes that stay."""

from collections.abc import Mapping

import pytest

from services.guard.redaction.masking import Masking
from services.guard.redaction.redactor import redact

FOUND = [
    ("LANDLINE_NUMBER", "致电", "（０１０）６２２２８８８８", "咨询"),
    ("RESIDENT_ID", "身份证\n", "110101\n19900307\n109X", " 请核对"),
    ("PASSPORT_NUMBER", "护照", "Ｅ１２３４５６７８", "到期"),
    ("TRAVEL_PERMIT", "港澳通行证", "C12345678", ""),
    ("US_SSN", "SSN: ", "536904399", ""),
    ("IP_ADDRESS", "http://u:p@", "10.0.0.8", ":8080/x"),
    ("IP_ADDRESS", "", "fe80::1ff:fe23:4567:890a", ""),
    ("SECRET", "password: ", "Hunter2!x", ""),
    ("SECRET", "密码是", "abc12345", "。"),
    ("LICENCE_PLATE", "", "沪A12345D", "已年检"),
    ("DATE_OF_BIRTH", "", "1990年3月7日", "出生"),
    ("CRYPTO_WALLET", "to ", "0x71C7656EC7ab88b098defB751B7401B5f6d8976F", ""),
    ("PHONE_NUMBER", "call ", "07700 900123", " now"),
    ("MOBILE_NUMBER", "电话", "13800138000", "元旦后联系"),
    ("MOBILE_NUMBER", "", "壹叁捌零零壹叁捌零零零", ""),
    ("ACCOUNT_NUMBER", "账号", "138001380001234", ""),
]
STAYS = [
    "收款行SWIFT代码BKCHCNBJ",
    "合计金额13912345678",
    "共13800138000股",
    "您的验证码是138001",
    "航班CA1234于13:45起飞",
    "IMEI 356938035643809",
    "2024年3月15日上线",
    "版本2.0.1.7上线",
    "std::vector<a::b>",
    "my password does not work",
    "How do I change my account number?",
]


@pytest.mark.parametrize(("entity", "before", "value", "after"), FOUND)
def test_a_class_is_found_at_its_exact_place(
    maskings: Mapping[str, Masking], entity: str, before: str, value: str, after: str
) -> None:
    redaction = redact(maskings, before + value + after)
    assert redaction.text == f"{before}[REDACTED]{after}"
    assert [finding.entity for finding in redaction.findings] == [entity]


@pytest.mark.parametrize("text", STAYS)
def test_what_only_looks_like_it_stays(maskings: Mapping[str, Masking], text: str) -> None:
    assert redact(maskings, text).text == text


def test_a_banks_code_counts_beside_somebodys_account(maskings: Mapping[str, Masking]) -> None:
    text = "Beneficiary account 12345678, SWIFT DEUTDEFF500"
    assert redact(maskings, text).text == "Beneficiary account [REDACTED], SWIFT [REDACTED]"
