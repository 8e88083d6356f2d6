"""Each character as recognizers see it: one plain character for each original one, or none where nothing shows."""

import re
import unicodedata
from collections.abc import Iterator

from services.guard.redaction.folds import Folds

_HYPHENS = "‐‑‒–—―−﹣－~～〜"
_MARKS = "•・∙⋅‧"
_FILLERS = "ᅟᅠㅤﾠ͏"  # render as nothing, though Unicode calls them letters and marks
_BLANKS = "⠀\t"
_COMMAS = "，、﹐"
_LINE_ENDS = "\r\v\f\x85\u2028\u2029"

_SPECIAL = (
    dict.fromkeys(_HYPHENS, "-")
    | dict.fromkeys(_MARKS, "·")
    | dict.fromkeys(_BLANKS, " ")
    | dict.fromkeys(_COMMAS, ",")
    | dict.fromkeys(_LINE_ENDS, "\n")
    | {"\n": "\n", "｡": "。"}
)

# Digits that ordinary Chinese prose is full of: they stay what they are, and recognizers of numbers read them.
CHINESE_DIGITS = "〇零○一壹幺弌二贰貳弍三叁叄弎四肆五伍六陆陸七柒八捌九玖"
AS_DIGITS = str.maketrans(CHINESE_DIGITS, "0001111222233334455666778899")


BREAK = "\ue000"  # stands for many invisible characters in a row


def invisible(character: str) -> bool:
    """Zero width, bidi controls, soft hyphens, variation selectors, combining marks, control characters."""
    if character in "\n\r\t\v\f\x85":
        return False
    return character in _FILLERS or unicodedata.category(character) in ("Cf", "Mn", "Me", "Cc")


_ESCAPES = "\\%"
# All but ASCII that is no escape, ideographs, and ranges that are visible throughout: of Latin letters, of Chinese
# punctuation, kana, full-width forms.
_MAY_BE_MARKED = re.compile(
    "[^ -$&-\\[\\]-~\n\u4e00-\u9fff\u00a1-\u00ac\u00ae-\u02ff\u3000-\u3029\u3030-\u3096\u309b-\u30ff\uff01-\uff9f]"
)


def marked(text: str) -> Iterator[int]:
    """The places of what is invisible or may begin an escape."""
    for match in _MAY_BE_MARKED.finditer(text):
        character = match.group()
        if character in _ESCAPES or invisible(character):
            yield match.start()


# Written without spaces between words: Han, kana, Hangul. For use inside the brackets of a pattern.
IDEOGRAPHIC = "\u2e80-\u2fdf\u3005-\ud7ff\uf900-\ufaff\U00020000-\U0010ffff"


def ideographic(character: str) -> bool:
    """Whether it is one of those; a comparison costs less than the pattern."""
    point = ord(character)
    if point < 0x3005:
        return 0x2E80 <= point <= 0x2FDF
    return point <= 0xD7FF or 0xF900 <= point <= 0xFAFF or 0x20000 <= point <= 0x10FFFF


def _fold_one(character: str) -> str:
    special = _SPECIAL.get(character)
    if special is not None:
        return special
    if 0xD800 <= ord(character) <= 0xDFFF:
        return "\ufffd"  # half of a character, which UTF-8 has no bytes for
    if invisible(character):
        return ""
    decimal = unicodedata.decimal(character, None)
    if decimal is not None:
        return str(decimal)
    plain = unicodedata.normalize("NFKC", character)
    if len(plain) == 1:
        return plain if plain == character else _fold_one(plain) or character  # a kana's half-width voicing mark stays
    return " " if plain.isspace() or not plain else character


_FOLDS = Folds(_fold_one)


def folded(text: str) -> str:
    if text.isascii() and text.isprintable() and "~" not in text:  # what of ASCII is folded to itself
        return text
    return _FOLDS.fold(text)


def read_escape(escape: str) -> str:
    """The character that a JSON or URL escape stands for. A byte of one outside ASCII stands for an ideograph."""
    if escape[0] == "%":
        code = int(escape[1:], 16)
        return chr(code) if code < 128 else "々"
    if escape[1] == "u":
        return chr(int(escape[2:], 16))
    return {"n": "\n", "r": "\n", "t": " ", "b": " ", "f": " "}.get(escape[1], escape[1])
