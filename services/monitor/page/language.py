"""Which language a page is in: the one that its address asks for, else the one that the browser prefers."""

from __future__ import annotations

LANGUAGES = ("en", "zh")
NAMES = {"en": "English", "zh": "中文"}
HTML_CODES = {"en": "en", "zh": "zh-Hans"}


def language(asked: str, accepted: str) -> str:
    """`asked` is the address' `lang`; `accepted` is an Accept-Language header, RFC 9110 section 12.5.4."""
    if asked in LANGUAGES:
        return asked
    preferred = [(quality, -place, tag) for place, (tag, quality) in enumerate(_ranges(accepted))]
    return next((tag for quality, _, tag in sorted(preferred, reverse=True) if quality > 0), LANGUAGES[0])


def _ranges(accepted: str) -> list[tuple[str, float]]:
    """The ranges that we speak, and how much each is wanted; `zh-Hant-TW` counts as zh."""
    spoken = []
    for part in accepted.lower().split(","):
        tag, *parameters = (piece.strip() for piece in part.split(";"))
        primary = tag.partition("-")[0]
        if primary in LANGUAGES:
            spoken.append((primary, _quality(parameters)))
    return spoken


def _quality(parameters: list[str]) -> float:
    """1 where none is given; what cannot be read is not wanted."""
    given = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
    try:
        return min(float(given), 1.0)
    except ValueError:
        return 0.0
