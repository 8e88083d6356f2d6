"""The page's words in one language, from words.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import yaml

from services.monitor.page.language import LANGUAGES
from services.monitor.page.numbers import Amount

# Of an age and of a rate. Those of a measurement are read as they are: ms, s, MiB, %.
UNITS: Mapping[str, Mapping[str, str]] = {
    "sec": {"en": "s", "zh": "秒"},
    "min": {"en": "min", "zh": "分钟"},
    "h": {"en": "h", "zh": "小时"},
    "d": {"en": "d", "zh": "天"},
    "/s": {"en": "/s", "zh": "/秒"},
}


@cache
def all_words() -> Mapping[str, Mapping[str, str]]:
    """By key, then by language."""
    text = (files("services.monitor.page") / "words.yaml").read_text(encoding="utf-8")
    words: dict[str, dict[str, str]] = yaml.safe_load(text)
    return words


class Words:
    """`words("alerts_firing", n=2)`; a key that nobody wrote is a KeyError."""

    def __init__(self, language: str) -> None:
        if language not in LANGUAGES:
            raise ValueError(f"{language!r} is not among {LANGUAGES}")
        self.language = language

    def __call__(self, key: str, **given: object) -> str:
        one, bar, several = all_words()[key][self.language].partition("|")
        return (several if bar and str(given["n"]) != "1" else one).format(**given)

    def __contains__(self, key: str) -> bool:
        return key in all_words()

    def unit(self, unit: str) -> str:
        return UNITS[unit][self.language] if unit in UNITS else unit

    def with_unit(self, amount: Amount) -> str:
        return f"{amount.number} {self.unit(amount.unit)}".strip()
