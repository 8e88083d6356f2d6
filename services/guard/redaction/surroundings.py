"""The words beside a number that say what it is: a telephone, a card, an order, an amount."""

import re
from functools import cached_property

from services.guard.redaction.characters import plain, unescaped
from services.guard.redaction.finding import Window

LOOK_BEHIND = 32  # characters of the original text before a candidate
LOOK_AHEAD = 14  # characters after it

_NEAR = 24  # a word that speaks for a telephone or a card may stand this far before it

_TELEPHONE = re.compile(
    r"电话|電話|手机|手機|联系|聯繫|聯絡|致电|拨打|热线|号码|短信|微信|座机"
    r"|(?<![a-z])(?:tel|phone|mobile|cell(?:phone)?(?![a-z])|call(?![a-z])|contact|whatsapp|wechat|sms|mob(?![a-z]))"
)
_CARD = re.compile(
    r"卡|账号|帐号|賬號|(?<![a-z])(?:card|acct|account (?:no|number)|unionpay|debit|credit|pan(?![a-z]))"
)
_SERIAL = re.compile(
    r"(?:订单|訂單|单号|编号|流水|发票|合同|交易号|凭证|参考号|序列号|时间戳|快递|运单|请求|批次|版本"
    r"|\b(?:order|invoice|tracking|ref|reference|transaction|txn|serial|timestamp|request|contract|ticket|parcel|batch))"
    r"[号號码碼]?(?:[\s_.\-]*(?:no|number|num|id|code))?[\s:：#=为是\"'.]{0,4}$"
)
_AMOUNT_BEFORE = re.compile(
    r"(?:[¥$€£]|\b(?:rmb|cny|usd|hkd|eur|gbp)|人民币|美元|港元|(?:金额|营收|收入|营业额|总额|余额|市值|规模|销售额|成交额"
    r"|成交量|利润|资产|负债|注册资本|revenue|amount|totals?|totall?ed|balance|sales|profit|income|turnover|volume|assets)"
    r"(?:\s*(?:was|were|is|are|of|reached|约|为|是|达到?|共|合计))?)[\s:：=\"']{0,3}$"
)
_AMOUNT_AFTER = re.compile(
    r"[\s]{0,2}(?:元(?![旦宵月])|圆(?!满)|块钱?|[百千]?万(?![一分])|亿|美元|美金|欧元|英镑|日元|港元|港币|人民币|股(?![票东])"
    r"|吨|[%‰]|(?:yuan|rmb|cny|usd|eur|gbp|hkd|jpy|dollars?|euros?|million|billion|shares?)(?![a-z]))"
)
_AMOUNT_AFTER_STARTS = re.compile(r"[\s]{0,2}(?:[元圆块百千万亿美欧英日港人股]|[%‰yrcueghjdmbs]|$)")

_HEX_OR_CODE = re.compile(r"(?:[0-9a-f]+|[0-9A-Z]{1,6})")


class Surroundings:
    """What stands before a candidate that starts at `start`. Reads at most LOOK_BEHIND characters."""

    def __init__(self, window: Window, start: int) -> None:
        self._window = window
        self._start = start

    @cached_property
    def _before(self) -> str:
        return plain(unescaped(self._window.text[max(0, self._start - LOOK_BEHIND) : self._start]))

    @cached_property
    def names_telephone(self) -> bool:
        return _TELEPHONE.search(self._before, max(0, len(self._before) - _NEAR)) is not None

    @cached_property
    def names_card(self) -> bool:
        return _CARD.search(self._before, max(0, len(self._before) - _NEAR)) is not None

    @property
    def names_something_else(self) -> bool:
        """An order number, an amount, a time stamp: said directly before the candidate."""
        return _SERIAL.search(self._before) is not None or _AMOUNT_BEFORE.search(self._before) is not None

    @property
    def part_of_a_code(self) -> bool:
        """Glued to letters that are no word: a hash, a serial number such as SF1380…, a hexadecimal string."""
        letters = _trailing_letters(self._window, self._start)
        return bool(letters) and (_HEX_OR_CODE.fullmatch(letters) is not None or len(letters) < 3)


def amount_follows(window: Window, end: int) -> bool | None:
    """Whether a unit of money or quantity stands at `end`. None: the text after it is not there yet."""
    raw = window.text[end : end + LOOK_AHEAD]
    after = plain(raw)
    if _AMOUNT_AFTER.match(after):
        # A longer text could still turn a unit into another word (元 into 元旦), except at the full look-ahead.
        return True if window.ended or len(raw) == LOOK_AHEAD else None
    if window.ended or len(raw) == LOOK_AHEAD or not _AMOUNT_AFTER_STARTS.match(after):
        return False
    return None


def code_follows(window: Window, end: int) -> bool | None:
    """Whether letters that are no word are glued to `end`. None: not known yet."""
    tail = window.kinds[end : end + LOOK_AHEAD]
    letters = len(tail) - len(tail.lstrip("Lz"))
    if letters == len(tail) and not window.ended and letters < LOOK_AHEAD:
        return None
    word = plain(window.text[end : end + letters])
    return bool(word) and (len(word) < 3 or _HEX_OR_CODE.fullmatch(word) is not None)


def _trailing_letters(window: Window, start: int) -> str:
    kinds = window.kinds[max(0, start - LOOK_BEHIND) : start]
    letters = len(kinds) - len(kinds.rstrip("Lz0123456789"))
    glued = window.text[start - letters : start]
    return "".join(c for c, kind in zip(glued, kinds[len(kinds) - letters :], strict=True) if kind in "L0123456789")
