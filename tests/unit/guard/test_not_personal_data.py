"""Numbers and signs that only look like personal data stay as they are."""

from collections.abc import Mapping

import pytest

from services.guard.redaction.masking import Masking
from services.guard.redaction.redactor import redact

HARMLESS = [
    "订单号127843885213已发货",
    "订单号13812345678已发货",
    "Order 13812345678 has shipped",
    "order_id: 13812345678",
    "流水号202501111349598366处理完成",
    "运单号SF13812345678901",
    "快递单号YT3763122472554。",
    "日期2023-10-15 13:45:12",
    "1990-01-01 100人",
    "20231015134512",
    "时间戳1700484286419，接口正常",
    "timed out at 1643693838.",
    "营业收入15919808037元，同比增长",
    "Revenue was 13251581658 and grew 4.97%.",
    "金额：¥13800138000",
    "余额 13800138000 元",
    "13800138000.50",
    "USD 13800138000",
    "市值约13800138000美元",
    "1,380,013,800,000",
    "π = 3.14159265358",
    "代码600519、000001、300750",
    "Checksum 1e394cbf70cd8e1cbc4b32506667074e",
    "b13800138000f",
    "请求ID f18a0c2a-0b77-8cbf-f0be-13800138000a",
    "550e8400-e29b-41d4-a716-446655440000",
    "ISIN US0378331005",
    "版本v10.4.2",
    "客服热线400-820-8820",
    "拨打95533",
    "1-800-555-0199",
    "身份证110101199003071234",
    "4111111111111112",
    "1234567890123456",
    "0000000000000000",
    "138001380001",
    "1380013800",
    "12345678901",
    "一三八",
    "一二三四五六七八九十",
    "第一，二是，三是",
    "filled 100 lots @ 101.25",
    "Filled @risk_team.",
    "npm i @angular/core@15.0.0",
    "a@b",
    "user@localhost",
    "E = mc² @ 3.5",
    "follow @someone on the site",
    "page 12 of 345, items 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17",
    "2019 2020 2021 2022 2023 2024",
    "100%20discount",
    "C:\\new\\table\\users",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_a_text_without_personal_data_is_returned_as_it_is(maskings: Mapping[str, Masking], text: str) -> None:
    redaction = redact(maskings, text)
    assert redaction.text == text
    assert redaction.findings == ()


def test_a_valid_card_is_masked_even_where_the_sentence_is_about_money(maskings: Mapping[str, Masking]) -> None:
    assert redact(maskings, "向卡号4111111111111111转账500元").text == "向卡号[REDACTED]转账500元"


def test_a_telephone_named_as_such_is_masked_after_an_order_number(maskings: Mapping[str, Masking]) -> None:
    text = "订单号127843885213，电话13812345678"
    assert redact(maskings, text).text == "订单号127843885213，电话[REDACTED]"
