"""Requests and answers for a log as it would be: Chinese and English about as often, no two alike."""

from __future__ import annotations

import json
import random

_ENGLISH = (
    "account", "rate", "loan", "interest", "transfer", "branch", "deposit", "maturity", "policy", "premium",
    "claim", "customer", "statement", "balance", "mortgage", "credit", "limit", "payment", "schedule",
    "overdue", "penalty", "currency", "exchange", "quote", "margin", "collateral", "guarantee", "compliance",
    "report", "review", "approval", "signature", "contract", "clause", "term", "renewal", "fee", "waiver",
    "refund",
)  # fmt: skip
_CHINESE = (
    "账户", "利率", "贷款", "利息", "转账", "支行", "存款", "到期", "保单", "保费", "理赔", "客户", "对账",
    "余额", "按揭", "信用", "额度", "还款", "计划", "逾期", "罚息", "币种", "汇率", "报价", "保证金", "抵押",
    "担保", "合规", "报告", "审查", "批准", "签字", "合同", "条款", "期限", "续约", "费用", "减免", "退款",
    "风险", "敞口", "评级", "流动性", "监管", "披露", "授信", "票据", "贴现",
)  # fmt: skip
_FILLERS = (
    "的", "了", "在", "请", "如何", "是否", "可以", "以及", "对于", "按照", "需要", "已经", "本行", "该笔",
    "上述", "因此", "我们",
)  # fmt: skip

WORDS_OF_REQUEST, WORDS_OF_ANSWER = 60, 60  # about 0.3 KB of text each, and 1 KiB sealed with what goes with it


class Texts:
    """Seeded. Words are as unevenly common as words are."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._english = [1 / (rank + 2) for rank in range(len(_ENGLISH))]
        self._chinese = [1 / (rank + 2) for rank in range(len(_CHINESE))]

    def text(self, words: int) -> str:
        choose = self._random.choices
        if self._random.random() < 0.5:
            rare = f"{self._random.choice('abcdefgh')}{self._random.randrange(2000)}"
            return " ".join([*choose(_ENGLISH, self._english, k=words), rare])
        pairs = zip(choose(_CHINESE, self._chinese, k=words // 2), choose(_FILLERS, k=words // 2))
        return "".join(f"{filler}{word}" for word, filler in pairs) + chr(0x5000 + self._random.randrange(2000)) * 2

    def request(self, words: int = WORDS_OF_REQUEST) -> dict[str, bytes]:
        text, number = self.text(words), self._random.randrange(10**15, 10**16)
        received = {"messages": [{"role": "user", "content": f"{text} {number}"}], "parameters": {}}
        masked = f"{text} [BANK_CARD]"
        sent = [{"role": "system", "content": "You work for a bank."}, {"role": "user", "content": masked}]
        found = {"type": "BANK_CARD", "start": len(text) + 1, "end": len(masked), "level": "C2", "side": "prompt"}
        return {
            "request_received": _json(received),
            "request_sent": _json({"messages": sent, "parameters": {}}),
            "parameters": b'{"policy_digest":"00","temperature":"0.7"}',
            "findings": _json([{**found, "message_index": 0, "rule": "bank_card"}]),
        }

    def answer(self, words: int = WORDS_OF_ANSWER) -> dict[str, bytes]:
        choices = [{"content": self.text(words), "finish_reason": "STOP", "reasoning": "", "tool_calls": []}]
        return {"answer_generated": _json(choices), "answer_released": _json(choices)}


def queries(count: int, seed: int) -> list[str]:
    """Distinct: two-character Chinese words, common and rare, English ones, phrases and pairs of these."""
    chosen, found = random.Random(seed), dict.fromkeys(word[:2] for word in _CHINESE)
    while len(found) < count:
        kind = chosen.randrange(4)
        if kind == 0:
            found[chr(0x5000 + chosen.randrange(2000)) * 2] = None
        elif kind == 1:
            found[f"{chosen.choice(_CHINESE)} {chosen.choice(_CHINESE)}"] = None
        elif kind == 2:
            found[f"{chosen.choice(_ENGLISH)} {chosen.choice(_ENGLISH)}"] = None
        else:
            found[f'"{chosen.choice(_ENGLISH)} {chosen.choice(_ENGLISH)}"'] = None
    return list(found)[:count]


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
