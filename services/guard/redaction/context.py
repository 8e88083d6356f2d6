"""The words beside a candidate that say what it is: a telephone, a card, an order, an amount."""

import re
from collections.abc import Sequence

from services.guard.redaction.said import ACCOUNTS, ENGLISH_ACCOUNTS, ENGLISH_SERIALS, SERIALS
from services.guard.redaction.stretch import Words

_SUFFIXES = ("号码", "號碼", "号", "號", "码", "碼", "numbers", "number", "num", "nos", "no", "ids", "id", "code", "#")


class Endings:
    """Words that may stand directly before a number, with 号, no, id and a colon or the like between. Looked for from
    the end: an alternation of so many words would be tried at every character."""

    def __init__(self, chinese: Sequence[str], english: Sequence[str]) -> None:
        self._chinese, self._english = tuple(chinese), tuple(english)

    def search(self, before: str) -> bool:
        """`before`: in lower case, up to the number."""
        text = before.rstrip(" \n:#=为是為\"'.(_-")
        for _ in range(2):
            if text.endswith(self._chinese) or self._word(text):
                return True
            shorter = next((text[: -len(suffix)] for suffix in _SUFFIXES if text.endswith(suffix)), None)
            if shorter is None:
                return False
            text = shorter.rstrip(" \n_.-")
        return False

    def _word(self, text: str) -> bool:
        if not text.endswith(self._english):
            return False
        return any(text.endswith(word) and not text[-len(word) - 1 : -len(word)].isalnum() for word in self._english)


TELEPHONE = re.compile(
    r"电话|電話|手机|手機|联系|聯繫|聯絡|致电|拨打|热线|号码|短信|微信|座机|传真|来电|呼叫"
    r"|(?<![a-z])(?:tel|phone|mobile|cell(?:phone)?(?![a-z])|call(?![a-z])|contact|whatsapp|wechat|sms|mob(?![a-z])|fax"
    r"|ring(?![a-z])|dial|reach (?:me|him|her|us)|answering at|receiving messages|text me|hotline)"
)
NAMED_TELEPHONE = re.compile(
    r"(?:电话|電話|手机|座机|传真|来电|致电|拨打|联系方式"
    r"|(?<![a-z])(?:tel|telephone|phone|mobile|cell|fax|call(?: me| us)?|dial|ring|reach|answering|messages|contact"
    r"|whatsapp|sms|office|home|work))(?: ?(?:no|number|num))?[^0-9]{0,16}$"
)
CARD = re.compile(
    r"卡|账号|帐号|賬號|(?<![a-z])(?:card|acct|account (?:no|number)|unionpay|debit|credit|cc(?![a-z])|pan(?![a-z])"
    r"|visa|mastercard|amex)"
)
IDENTITY = re.compile(
    r"身份证|身分證|身份證|证件|公民身份|居民身份|(?<![a-z])(?:resident id|id (?:card|no|number)|identity)"
)
PASSPORT = re.compile(r"护照|護照|证件|證件|出境|出入境|签证|(?<![a-z])(?:passport|travel doc)")
PERMIT = re.compile(
    r"通行证|通行證|回乡证|回鄉證|台胞证|台胞證|往来港澳|(?<![a-z])(?:permit|travel document|home return)"
)
SSN = re.compile(r"社安号|社会安全|(?<![a-z])(?:ssn|social security|itin|tax ?id)")
BIRTH = re.compile(
    r"(?:出生(?:日期|年月日?|时间)?|生日|生于|生於|诞辰|(?<![a-z])(?:dob|d\.o\.b\.?|date of birth|birth ?date|birthday"
    r"|born))[^0-9〇零一二三四五六七八九]{0,12}$"
)
ACCOUNT = Endings(ACCOUNTS, ENGLISH_ACCOUNTS)
PAYEE = re.compile(
    r"(?:账号|帐号|账户|帐户|(?<![a-z])(?:iban|account|acct|a/c))[^0-9a-z]{0,6}(?:[a-z]{2})?[0-9][0-9a-z \-]{5}"
)
SWIFT = re.compile(
    r"(?<![a-z])(?:swift|bic)(?:[\s/\-]*(?:bic|code|代码|号码|码|号))?[\s:=为是]{0,4}$|(?:银行国际代码|国际银行代码)[\s:为是]{0,4}$"
)
ADDRESS_OF_A_MACHINE = re.compile(
    r"地址|网关|登录|主机|服务器|访问|(?<![a-z])(?:ip|ipv4|ipv6|host|server|gateway|dns|addr|login|ssh|ping|client)"
)
VERSION = re.compile(
    r"(?:版本号?|固件|升级[到至]?|(?<![a-z])(?:v|ver|version|release|build|firmware|upgraded? to|python"
    r"|sdk))[\s.:=]{0,2}$"
)
HOTLINE = re.compile(r"客服|服务热线|热线|hotline|toll[- ]free|customer service|helpline")

SERIAL = Endings(SERIALS, ENGLISH_SERIALS)
AMOUNT_BEFORE = re.compile(
    r"(?:[¥$€£￥]|\b(?:rmb|cny|usd|hkd|eur|gbp|jpy)|人民币|美元|港元|(?:金额|营收|营业收入|收入|营业额|总额|余额|市值|规模"
    r"|销售额|成交额|成交量|利润|资产|负债|注册资本|资本|股本|总股本|人口|数量|存款|贷款额|净值|估值|revenue"
    r"|amount(?:s|ed)?(?: to)?|totals?|totall?ed|balance|sales|profit|income|turnover|volume|assets|population"
    r"|worth|valued at|paid|price|cost|cap|quantity|shares outstanding)"
    r"(?:\s*(?:was|were|is|are|of|reached|at|约|为|是|达到?|共|合计|高达))?)[\s:=\"']{0,3}$"
)
AMOUNT_AFTER = Words(
    re.compile(
        r"[\s]{0,2}(?:元(?![旦宵月])|圆(?!满)|块钱?|[百千]?万(?![一分])|亿|美元|美金|欧元|英镑|日元|港元|港币|人民币|股(?![票东])"
        r"|吨|份(?!证)|手(?![机續续])|人次|[%‰]"
        r"|(?:yuan|rmb|cny|usd|eur|gbp|hkd|jpy|dollars?|euros?|million|billion|shares?|units?)(?![a-z]))"
    ),
    " \n元圆块百千万亿美欧英日港人股吨份手%‰yrcueghjdmbsYRCUEGHJDMBS",
    (
        *"元圆万亿股吨份手%‰", "块钱", "百万", "千万", "美元", "美金", "欧元", "英镑", "日元", "港元", "港币", "人民币",
        "人次", "yuan", "rmb", "cny", "usd", "eur", "gbp", "hkd", "jpy", "dollars", "euros", "million", "billion",
        "shares", "units",
    ),
    " \n",
)  # fmt: skip
