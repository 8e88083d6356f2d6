"""Labelled sentences of our own: what people write personal data into, and what only looks like it."""

from __future__ import annotations

import random
from collections.abc import Callable

from benchmarks.redaction.invented import VALUES, digits, forms
from benchmarks.redaction.rows import Corpus, Place, Row

SEED = 20251126

# SLOT is a value of the class.
SLOT = "¤"
_FRAMES: dict[str, tuple[str, ...]] = {
    "MOBILE_NUMBER": (
        "王经理让我回他电话¤，一直没人接",
        "客户说¤是他本人在用",
        "短信验证码发到¤了吗？",
        "¤这个号停机了",
        "Please text ¤ once the wire is out.",
        "her mobile: ¤; she answers after 6 pm",
        '{"phone":"¤","vip":true}',
        "user=¤&channel=app",
        "联系方式：¤/微信同号",
        "备注：家属¤，紧急时联系",
        "log: sms to ¤ failed (code 7)",
        "tel:¤",
    ),
    "LANDLINE_NUMBER": (
        "营业部座机¤转8012",
        "请打¤预约开户",
        "总机：¤。",
        "our Shanghai desk is on ¤ all day",
        "传真号码¤已停用",
        "联系电话（办公室）¤",
    ),
    "RESIDENT_ID": (
        "开户人证件号码¤已核验",
        "居民身份证¤有效期至2035年",
        "¤系本案被执行人",
        "id_card=¤",
        "His resident ID ¤ was scanned twice.",
        "申请表第3栏填¤",
        '{"idNo":"¤"}',
        "客户¤的风险等级为C3",
    ),
    "BANK_CARD": (
        "把尾款打到¤，户名同上",
        "我这张卡¤被吞了",
        "The card ¤ was declined at the till.",
        "pan=¤",
        "从¤扣款失败，余额不足",
        "还款账号是¤。",
        '{"cardNo": "¤"}',
        "请解绑 ¤ 并重新绑定",
        "卡号：¤，有效期12/29",
    ),
    "USCC": (
        "甲方（统一社会信用代码¤）同意放款",
        "税号¤开票有误",
        "Registered under ¤ in Shanghai.",
        "营业执照编号为¤的企业",
        "company_code:¤",
    ),
    "IBAN": (
        "汇往¤的欧元已到账",
        "Send the refund to ¤, thanks.",
        "IBAN：¤",
        "受益人账户¤需要复核",
        '{"iban":"¤"}',
    ),
    "EMAIL_ADDRESS": (
        "月结单请抄送¤。",
        "我的邮箱是¤请查收",
        "write to ¤ or call us",
        "<¤>",
        "mailto:¤",
        "发件人¤的附件打不开",
        '{"to":["¤"]}',
    ),
    "LICENCE_PLATE": (
        "抵押车辆¤已过户",
        "车牌号：¤",
        "停车场登记的是¤这辆车",
        "Collateral vehicle ¤ was released.",
        "¤于上周年检",
    ),
    "IP_ADDRESS": (
        "异常登录来自¤，请核实",
        "client ¤ was blocked",
        "把¤加入白名单",
        "ping ¤ 不通",
        "remote_addr=¤ status=403",
    ),
    "MAC_ADDRESS": ("终端MAC为¤", "device ¤ joined the network", "mac=¤;", "请绑定网卡¤后再登录"),
    "CRYPTO_WALLET": (
        "把USDT转到¤",
        "wallet ¤ is on the sanctions list",
        "提币地址：¤，请勿泄露",
        "from ¤ to cold storage",
    ),
    "US_SSN": ("SSN ¤ on the W-9", "Applicant ¤ (US person) signed.", "其美国社会安全号¤已登记", "ssn=¤"),
    "PHONE_NUMBER": (
        "Call ¤ before noon.",
        "reach me at ¤",
        "香港同事的电话¤",
        "Her number is ¤, ask for Lee.",
        "tel: ¤",
    ),
    "PASSPORT_NUMBER": ("护照¤将于明年到期", "passport ¤ was photocopied", "护照号：¤，签发地上海", "Passport No. ¤"),
    "TRAVEL_PERMIT": ("港澳居民来往内地通行证¤", "通行证号码¤已过期", "回乡证：¤", "home return permit ¤"),
    "ACCOUNT_NUMBER": (
        "对公账号¤已冻结",
        "收款账号：¤，开户行工行",
        "account number ¤ at the branch",
        "Please credit a/c ¤.",
    ),
    "SECRET": ("api_key = ¤", "我的密钥是¤，别外传", "Authorization: Bearer ¤", "export TOKEN=¤", "请用 ¤ 调接口"),
    "DATE_OF_BIRTH": (
        "客户出生日期：¤",
        "DOB: ¤",
        "她生于¤，籍贯山东",
        "date of birth ¤ does not match",
        "生日¤可领礼品",
    ),
}

# What stays, with the part that looks like personal data in brackets; the function makes the part.
Make = Callable[[random.Random], str]


def _amount(chance: random.Random) -> str:
    return f"1{chance.choice('3456789')}{digits(chance, 9)}"


def _order(chance: random.Random) -> str:
    return digits(chance, chance.choice((11, 12, 13, 14, 16, 17, 18, 19)))


def _hex(count: int) -> Make:
    return lambda chance: f"{chance.getrandbits(4 * count):0{count}x}"


def _uuid(chance: random.Random) -> str:
    text = f"{chance.getrandbits(128):032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _day(chance: random.Random) -> str:
    year, month, day = chance.randrange(2001, 2030), chance.randrange(1, 13), chance.randrange(1, 29)
    form = chance.choice(("{}-{:02}-{:02}", "{}/{:02}/{:02}", "{}年{}月{}日", "{}{:02}{:02}", "{}.{:02}.{:02}"))
    return form.format(year, month, day)


def _moment(chance: random.Random) -> str:
    day, hour = chance.randrange(10, 29), chance.randrange(10, 24)
    return f"2024-0{chance.randrange(1, 10)}-{day} {hour}:{chance.randrange(10, 60)}:07"


_NEGATIVES: tuple[tuple[str, str, Make], ...] = (
    ("BIGAMT", "全年净利润为¤元，同比增长8%", _amount),
    ("BIGAMT", "¥¤已入账", _amount),
    ("BIGAMT", "Total assets: ¤ USD", _amount),
    ("BIGAMT", "成交¤股，换手率2.1%", _amount),
    ("BIGAMT", "revenue of ¤ for the year", _amount),
    ("BIGAMT", "总股本¤股", _amount),
    ("ORDER", "订单编号¤已退款", _order),
    ("ORDER", "Order #¤ is delayed", _order),
    ("ORDER", "交易流水号：¤", _order),
    ("PARCEL", "快递单号SF¤派送中", lambda c: digits(c, 13)),
    ("PARCEL", "tracking number 1Z¤", lambda c: digits(c, 16)),
    ("PARCEL", "运单号¤", lambda c: digits(c, 12)),
    ("INVOICE", "发票代码¤", lambda c: digits(c, 12)),
    ("INVOICE", "Invoice No. ¤ is unpaid", lambda c: digits(c, 10)),
    ("CONTRACT", "合同编号HT-2024-¤", lambda c: digits(c, 8)),
    ("CONTRACT", "loan contract LN¤ was signed", lambda c: digits(c, 10)),
    ("CONTRACT", "保单号¤生效", lambda c: digits(c, 16)),
    ("DATE", "于¤到期", _day),
    ("DATE", "filed on ¤", _day),
    ("DATE", "会议改到¤", _day),
    ("TIME", "¤ 收到请求", _moment),
    ("EPOCH", "ts=¤", lambda c: f"17{digits(c, 8)}"),
    ("EPOCH", "时间戳¤毫秒", lambda c: f"17{digits(c, 11)}"),
    ("EPOCH", '{"created_at":¤}', lambda c: f"16{digits(c, 11)}"),
    ("STOCK", "¤涨停", lambda c: f"60{digits(c, 4)}"),
    ("STOCK", "买入¤.SZ一千股", lambda c: f"00{digits(c, 4)}"),
    ("ISIN", "bond ¤ pays 4.2%", lambda c: f"US{digits(c, 10)}"),
    ("ISIN", "债券¤违约", lambda c: f"CNE{digits(c, 9)}"),
    ("LEI", "LEI ¤", lambda c: f"5493{_hex(14)(c).upper()}{digits(c, 2)}"),
    ("HASH", "sha256 ¤", _hex(64)),
    ("HASH", "commit ¤ reverted", _hex(40)),
    ("HASH", "md5为¤的文件", _hex(32)),
    ("HASH", "txid 0x¤", _hex(64)),
    ("UUID", "request ¤ timed out", _uuid),
    ("UUID", "会话¤已断开", _uuid),
    (
        "VERSION",
        "升级到版本¤后恢复",
        lambda c: f"{c.randrange(20)}.{c.randrange(20)}.{c.randrange(20)}.{c.randrange(200)}",
    ),
    ("VERSION", "pip install grpcio==¤", lambda c: f"1.{c.randrange(90)}.{c.randrange(10)}"),
    ("VERSION", "v¤ released", lambda c: f"{c.randrange(9)}.{c.randrange(30)}.{c.randrange(30)}"),
    ("HOTLINE", "如有疑问请拨打¤", lambda c: c.choice(("95588", "12363", "12378", "400-820-8888", "400 610 9999"))),
    ("HOTLINE", "Call our toll-free line ¤", lambda c: c.choice(("1-800-555-0199", "800-432-1000", "1 888 280 4331"))),
    ("PERCENT", "收益率¤%", lambda c: f"{c.randrange(9)}.{digits(c, 6)}"),
    ("DECIMAL", "π≈¤", lambda c: f"3.{digits(c, 14)}"),
    ("AT", "filled ¤ lots @ 101.25", lambda c: str(c.randrange(9999))),
    ("AT", "ask @¤ in the channel", lambda c: "risk_team"),
    ("RANGE", "参见第¤页", lambda c: f"{c.randrange(10, 99)}-{c.randrange(100, 199)}"),
    ("RATIO", "比例为¤", lambda c: f"{c.randrange(10)}:{c.randrange(10)}:{c.randrange(10)}"),
    ("TABLE", "1 2 3 4 5 6 7 8 9 10 11 12 13 ¤ 15 16", lambda c: str(c.randrange(10, 99))),
    ("TABLE", "¤ | 1,204.50 | 998.10 | 2,310.00", lambda c: f"{c.randrange(10**6):,}.{digits(c, 2)}"),
    ("PART", "part no. ¤", lambda c: f"A{digits(c, 4)}-{digits(c, 5)}"),
    ("CODE", "range(0, ¤)", lambda c: digits(c, 9)),
    ("CODE", "x = 0x¤", _hex(8)),
    ("FUND", "基金代码¤分红", lambda c: digits(c, 6)),
    ("PO", "采购单号PO¤", lambda c: digits(c, 10)),
    ("ISBN", "ISBN 978-7-¤", lambda c: f"111-{digits(c, 5)}-{digits(c, 1)}"),
    ("CASE", "（2023）沪01民终¤号", lambda c: digits(c, 5)),
    ("BATCH", "批次号¤", lambda c: f"20240{digits(c, 9)}"),
    ("SWIFT", "银行的SWIFT代码是¤", lambda c: c.choice(("BKCHCNBJ", "ICBKCNBJ", "DEUTDEFF"))),
    ("PORT", "listens on port ¤", lambda c: "50051"),
    ("SCORE", "信用评分¤分", lambda c: str(c.randrange(350, 950))),
    ("AREA", "建筑面积¤平方米", lambda c: digits(c, 8)),
    ("COUNT", "服务客户¤人次", lambda c: f"13{digits(c, 9)}"),
    ("SHARES", "holds ¤ shares", lambda c: f"15{digits(c, 9)}"),
)

QUIET = (
    "远期合约与期货合约有什么区别？",
    "请解释流动性覆盖率。",
    "What is a basis point?",
    "How do I open an account?",
    "净值型产品不保本，2024年一季度规模增长3.2%。",
    "The Fed moved rates by 25 bp on 2023-07-26.",
    "本产品风险等级为R2，适合稳健型客户。",
    "一三五限行，二四六不限。",
    "第十二条　甲方应于三十日内付款。",
    "The 7:30 train leaves platform 4; bring 2 copies.",
    "for (i = 0; i < 1000000; i++) sum += a[i] * 31;",
    "沪深300指数报3,912.66点，涨0.45%。",
    "SELECT * FROM t WHERE id = 42 LIMIT 1000",
    "账户余额不足时会自动转出吗？",
    "Is my account number shown on the statement?",
    "EBITDA margin rose from 12.4% to 13.1%.",
    "请问密码忘了怎么办？",
    "My password does not work.",
    "护照可以作为开户证件吗？",
    "身份证过期了还能取钱吗？",
    "Which card has no annual fee?",
    "电话银行的服务时间是几点到几点？",
    "GB 11643 defines the resident identity number.",
    "ISO 4217: CNY, USD, EUR, HKD, JPY",
    "https://docs.example.com/v2/api/users?page=12&size=100",
    'File "main.py", line 231, in <module>',
    "CVE-2024-12345 was patched in 1.2.3",
    "2019 2020 2021 2022 2023 2024",
    "三七二十一，一五一十。",
    "P/E 15.2x, P/B 1.8x, ROE 11.9%",
)


def corpus(entities: int, seed: int = SEED) -> Corpus:
    """So many entities, each in a sentence of its own, as many sentences that only look like it, and quiet ones."""
    chance = random.Random(seed)
    made = Corpus()
    labels = sorted(VALUES)
    for number in range(entities):
        label = labels[number % len(labels)]
        made.rows.append(_positive(chance, label))
        made.rows.append(_negative(chance))
    made.rows += [Row(text, (), language="", source="own", template=f"quiet-{n}") for n, text in enumerate(QUIET)]
    return made


def _positive(chance: random.Random, label: str) -> Row:
    value = chance.choice(VALUES[label])(chance)
    form, write = chance.choice(sorted(forms(label).items()))
    frames = _FRAMES[label]
    frame = chance.randrange(len(frames))
    before, after = frames[frame].split(SLOT)
    written = write(value)
    place = Place(label, len(before), len(before) + len(written))
    return Row(f"{before}{written}{after}", (place,), source="own", template=f"{label}-{frame}", variant=form)


def _negative(chance: random.Random) -> Row:
    number = chance.randrange(len(_NEGATIVES))
    kind, frame, make = _NEGATIVES[number]
    part = make(chance)
    before, after = frame.split(SLOT)
    place = Place(kind, len(before), len(before) + len(part))
    return Row(f"{before}{part}{after}", (), (place,), source="own", template=f"negative-{number}")
