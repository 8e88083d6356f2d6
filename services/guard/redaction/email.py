"""E-mail addresses, in ASCII or full-width writing, with Latin or Chinese domains, glued to Chinese or not."""

import re

from services.guard.redaction.shape import Shape
from services.guard.redaction.stretch import Stretch

MAILBOX = 64  # characters before the @ (RFC 5321)
DOMAIN_CHARACTERS = r"[A-Za-z0-9\-_.]"

_COMMON_TOPS = "com|cn|net|org|edu|gov|io|co|hk|tw|uk|de|me|info|biz"
CHINESE_TOPS = "中国|中國|公司|网络|網絡|网址|集团|在线|中文网|商城|香港|台湾|政务|公益|我爱你|中信"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9\-_]{0,62})"
_TOP = rf"(?:[A-Za-z]{{2,24}}(?![A-Za-z0-9])|(?:{_COMMON_TOPS})(?=[0-9])|{CHINESE_TOPS})"
_WIDE_LABEL = r"[^\W_][\w\-]{0,23}"
_ADDRESS = re.compile(
    rf"(?<![A-Za-z0-9])(?P<mailbox>[A-Za-z0-9_%+](?:[A-Za-z0-9._%+\-']{{0,{MAILBOX - 1}}}))"
    rf"(?P<at>@| @ )(?:{_LABEL}\.)+{_TOP}"
)
_WIDE = re.compile(
    rf"(?<![A-Za-z0-9])(?P<mailbox>[A-Za-z0-9_%+](?:[A-Za-z0-9._%+\-']{{0,{MAILBOX - 1}}}))"
    rf"(?P<at>@| @ )(?:{_WIDE_LABEL}[.。]){{1,4}}(?:{_TOP}|(?:{_COMMON_TOPS})(?![A-Za-z0-9]))"
)
_OPEN = re.compile(
    rf"(?<![A-Za-z0-9])(?P<mailbox>[A-Za-z0-9_%+](?:[A-Za-z0-9._%+\-']{{0,{MAILBOX - 1}}}))"
    rf"(?P<at>@){DOMAIN_CHARACTERS}{{24,}}\Z"
)
_SURELY_A_DOMAIN = (".com", ".cn", ".net", ".org")


def _accepts(match: re.Match[str], stretch: Stretch) -> str | None:
    domain = match.group()[match.end("at") - match.start() :].replace("。", ".")
    if match["at"] != "@" and not domain.lower().endswith(_SURELY_A_DOMAIN):
        return None  # "100 @ market.close"
    if stretch.text[match.start() - 1 : match.start()] == "@":
        return None
    return f"{match['mailbox']}@{domain}"


def _accepts_wide(match: re.Match[str], stretch: Stretch) -> str | None:
    value = _accepts(match, stretch)
    return None if value is None or (value.isascii() and "。" not in match.group()) else value


def _accepts_open(match: re.Match[str], stretch: Stretch) -> str | None:
    """A domain that is longer than a stretch: with a dot in it, or so long that it can be nothing else."""
    return f"{match['mailbox']}@"


EMAILS = (
    Shape("EMAIL_ADDRESS", "address", _ADDRESS, _accepts, screen="@", goes_on=DOMAIN_CHARACTERS),
    Shape("EMAIL_ADDRESS", "address", _WIDE, _accepts_wide, screen="@", goes_on=DOMAIN_CHARACTERS, not_ascii=True),
    Shape("EMAIL_ADDRESS", "address", _OPEN, _accepts_open, screen="@", goes_on=DOMAIN_CHARACTERS, cut_off=True),
)
