"""What each character of a text is worth to a detector: one class letter a character, so offsets never move."""

import re
import unicodedata

CHINESE_DIGITS = {
    "a": "〇零○", "b": "一壹幺弌", "c": "二贰貳弍", "d": "三叁叄弎", "e": "四肆",
    "f": "五伍", "g": "六陆陸", "h": "七柒", "i": "八捌", "j": "九玖",
}  # fmt: skip

# The alphabet of `classify`. Digits stand for themselves whatever script wrote them, except Chinese ones (a to j for
# 0 to 9), which ordinary Chinese prose is full of and which therefore have rules of their own.
DIGIT, DIGIT_CLASSES = "0-9a-j", "0123456789abcdefghij"
LETTER, FOREIGN_LETTER, IDEOGRAPH, IGNORED, OTHER = "L", "M", "C", "z", "x"
NEWLINE, SPACE, MARK, IDEOGRAPHIC_STOP = "n", " ", "s", "o"

_HYPHENS = "-‐‑‒–—―−﹣－~～〜"
_MARKS = "·•・∙⋅‧/／|｜*＊\\"
_FILLERS = "ᅟᅠㅤﾠ͏"  # render as nothing, though Unicode calls them letters and marks
_BLANKS = "⠀"
_COMMAS = ",，、﹐"
_KEPT = "@.-_%+()'"

_SPECIAL = (
    {character: letter for letter, characters in CHINESE_DIGITS.items() for character in characters}
    | dict.fromkeys(_FILLERS, IGNORED)
    | dict.fromkeys(_HYPHENS, "-")
    | dict.fromkeys(_MARKS, MARK)
    | dict.fromkeys(_COMMAS, ",")
    | dict.fromkeys("。｡", IDEOGRAPHIC_STOP)
    | dict.fromkeys("\n\r\v\f\x85\u2028\u2029", NEWLINE)
    | dict.fromkeys(" \t" + _BLANKS, SPACE)
    | dict.fromkeys(_KEPT, None)
)


def invisible(character: str) -> bool:
    """Zero width, bidi controls, soft hyphens, variation selectors, combining marks, control characters."""
    if character in "\n\r\t\v\f\x85":
        return False
    return character in _FILLERS or unicodedata.category(character) in ("Cf", "Mn", "Me", "Cc")


# Written without spaces between words: Han, kana, Hangul. For use inside the brackets of a pattern.
IDEOGRAPHIC = "\u2e80-\u2fdf\u3005-\ud7ff\uf900-\ufaff\U00020000-\U0010ffff"
_IDEOGRAPHIC = re.compile(f"[{IDEOGRAPHIC}]")


def ideographic(character: str) -> bool:
    return _IDEOGRAPHIC.match(character) is not None


def _class_of(character: str) -> str:
    special = _SPECIAL.get(character, "")
    if special != "":
        return special or character
    if invisible(character):
        return IGNORED
    decimal = unicodedata.decimal(character, None)
    plain = str(decimal) if decimal is not None else unicodedata.normalize("NFKC", character)
    if len(plain) == 1 and plain != character:
        return _class_of(plain)
    if plain.isascii() and len(plain) == 1:
        if plain.isdigit():
            return plain
        return LETTER if plain.isalpha() else OTHER
    if unicodedata.category(character).startswith("Z"):
        return SPACE
    if ideographic(character):
        return IDEOGRAPH if character.isalpha() else OTHER
    return FOREIGN_LETTER if character.isalpha() else OTHER


class _Classes(dict[int, str]):
    """Filled as characters are met; at most one item for each Unicode character."""

    def __missing__(self, point: int) -> str:
        letter = self[point] = _class_of(chr(point))
        return letter


_CLASSES = _Classes()
for _point in range(128):
    _CLASSES[_point] = _class_of(chr(_point))


# JSON and URL escapes: the class of what they stand for, and IGNORED for the rest of their characters.
_ESCAPE = re.compile(
    r"\\\\|\\u([0-9A-Fa-f]{4})|\\[nrt\"/]|%(2[089BDEbde]|3[0-9]|40|5[Ff])|%[89A-Fa-f][0-9A-Fa-f]", re.ASCII
)
_UNFINISHED_ESCAPE = re.compile(r"(?:\\(?:u[0-9A-Fa-f]{0,3})?|%[0-9A-Fa-f]?)\Z", re.ASCII)


def classify(text: str) -> str:
    """One class letter for each character: `len(classify(text)) == len(text)`."""
    kinds = text.translate(_CLASSES)
    if "\\" not in text and "%" not in text:
        return kinds
    pieces: list[str] = []
    end = 0
    for match in _ESCAPE.finditer(text):
        pieces += (kinds[end : match.start()], _escape_class(match), IGNORED * (len(match.group()) - 1))
        end = match.end()
    return "".join(pieces) + kinds[end:]


def unfinished(text: str) -> int:
    """How many characters at the end may be the beginning of an escape, and so cannot be classified yet."""
    if "\\" not in text[-6:] and "%" not in text[-2:]:
        return 0
    end = 0
    for match in _ESCAPE.finditer(text):
        end = match.end()
    tail = _UNFINISHED_ESCAPE.search(text, end)
    return len(text) - tail.start() if tail else 0


def escape_length(text: str, start: int) -> int:
    """Of the character that is written at `start`: 1, or the length of its escape."""
    match = _ESCAPE.match(text, start) if text[start] in "\\%" else None
    return len(match.group()) if match else 1


def _escape_class(match: re.Match[str]) -> str:
    if match[1] or match[2]:
        return _CLASSES[int(match[1] or match[2], 16)]
    if match[0][0] == "%":
        return IDEOGRAPH  # a byte of a character outside ASCII
    return NEWLINE if match[0][1] in "nrt" else OTHER


def unescaped(text: str) -> str:
    """The text with its JSON and URL escapes read, where it is only looked at."""
    if "\\u" not in text:
        return text
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else " ", text)


class _Visible(dict[int, str | None]):
    """Filled as characters are met; None takes a character out."""

    def __missing__(self, point: int) -> str | None:
        seen = self[point] = None if invisible(chr(point)) else chr(point)
        return seen


_VISIBLE = _Visible()


def digit_value(letter: str) -> str:
    """The ASCII digit behind a digit's class letter."""
    return letter if letter.isdigit() else str(ord(letter) - ord("a"))


def plain(text: str) -> str:
    """NFKC, lower case, nothing invisible: for looking at the words beside a candidate, where offsets do not matter."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return folded if folded.isascii() else folded.translate(_VISIBLE)
