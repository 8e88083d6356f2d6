"""The words that say what stands beside them, looked for all at once: which kinds of them are there at all."""

from ahocorasick_rs import AhoCorasick, MatchKind

ACCOUNT, AMOUNT, BIRTH, CARD, IDENTITY, PASSPORT, PERMIT, SECRET, SERIAL, SSN, SWIFT, TELEPHONE = (
    1 << place for place in range(12)
)

SERIALS = (
    "订单", "訂單", "单号", "單號", "编号", "編號", "流水", "发票", "發票", "合同", "交易号", "交易参考", "凭证",
    "参考号", "序列号", "时间戳", "快递", "运单", "包裹", "请求", "批次", "版本", "保单", "工单", "货号", "批号",
    "条码", "票号", "案号", "文号", "备案", "许可证", "基金代码", "证券代码", "股票代码", "债券代码", "产品代码",
    "校验值", "哈希",
)  # fmt: skip
ENGLISH_SERIALS = (
    "order", "invoice", "tracking", "ref", "reference", "transaction", "txn", "serial", "timestamp", "request",
    "contract", "ticket", "parcel", "batch", "shipment", "po", "sku", "isbn", "isin", "cusip", "lei", "case",
    "claim", "receipt", "voucher", "trade", "confirmation", "waybill", "purchase order", "epoch", "checksum",
    "hash", "commit", "session", "trace", "job", "build",
)  # fmt: skip
ACCOUNTS = ("账号", "帐号", "賬號", "账户", "帐户", "賬戶", "户头")
ENGLISH_ACCOUNTS = ("account", "acct", "a/c", "routing", "sort code", "iban")

# Of each kind, in lower case: every pattern of its context has one of them in whatever it matches.
WORDS = {
    ACCOUNT: (*ACCOUNTS, *ENGLISH_ACCOUNTS),
    AMOUNT: (
        "¥", "$", "€", "£", "￥", "rmb", "cny", "usd", "hkd", "eur", "gbp", "jpy", "人民币", "美元", "港元",
        "金额", "营收", "收入", "营业额", "总额", "余额", "市值", "规模", "销售额", "成交额", "成交量", "利润",
        "资产", "负债", "资本", "股本", "人口", "数量", "存款", "贷款额", "净值", "估值", "revenue", "amount",
        "total", "balance", "sales", "profit", "income", "turnover", "volume", "assets", "population", "worth",
        "valued at", "paid", "price", "cost", "cap", "quantity", "shares outstanding",
    ),
    BIRTH: ("出", "生", "诞", "born", "birth", "dob", "d.o.b"),
    CARD: (
        "卡", "账号", "帐号", "賬號", "card", "acct", "account", "unionpay", "debit", "credit", "cc", "pan",
        "visa", "mastercard", "amex",
    ),
    IDENTITY: (
        "身份证", "身分證", "身份證", "证件", "公民身份", "居民身份", "resident id", "id card", "id no",
        "id number", "identity",
    ),
    PASSPORT: ("护照", "護照", "证件", "證件", "出境", "出入境", "签证", "passport", "travel"),
    PERMIT: ("通行", "回乡", "回鄉", "台胞", "港澳", "permit", "travel", "home return"),
    SECRET: ("密", "口令", "令牌", "私钥", "授权码", "key", "token", "secret", "pass", "pwd", "bearer", "credential"),
    SERIAL: (*SERIALS, *ENGLISH_SERIALS),
    SSN: ("社安号", "社会安全", "ssn", "social security", "itin", "tax id", "taxid"),
    SWIFT: ("swift", "bic", "国际"),
    TELEPHONE: (
        "电话", "電話", "手机", "手機", "联系", "聯繫", "聯絡", "致电", "拨打", "热线", "号码", "短信", "微信",
        "座机", "传真", "来电", "呼叫", "tel", "phone", "mobile", "cell", "call", "contact", "whatsapp", "wechat",
        "sms", "mob", "fax", "ring", "dial", "reach", "answering", "messages", "text me", "hotline", "office",
        "home", "work",
    ),
}  # fmt: skip

_EVERY = sorted({word for words in WORDS.values() for word in words})
_KINDS = [sum(kind for kind, words in WORDS.items() if word in words) for word in _EVERY]
_AUTOMATON = AhoCorasick(_EVERY, matchkind=MatchKind.Standard)


def said_in(text: str) -> int:
    """The kinds of words in a text in lower case, whatever they stand beside."""
    kinds = 0
    for word, _, _ in _AUTOMATON.find_matches_as_indexes(text, overlapping=True):
        kinds |= _KINDS[word]
    return kinds
