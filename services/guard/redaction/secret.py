"""Secrets: keys and tokens by their issuers' prefixes, JWTs, private keys, and what a word calls a password."""

import re

from services.guard.redaction import said
from services.guard.redaction.shape import Shape
from services.guard.redaction.stretch import Stretch

_TOKEN_CHARACTERS = r"[A-Za-z0-9_\-+/=.~]"

# The fixed beginnings that issuers publish for secret scanners, and how long the rest at least is.
_PREFIXED = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:AKIA|ASIA)[0-9A-Z]{16}|LTAI[0-9A-Za-z]{12,26}|AKID[0-9A-Za-z]{13,40}|AIza[0-9A-Za-z_\-]{35}"
    r"|gh[pousr]_[0-9A-Za-z]{30,255}|github_pat_[0-9A-Za-z_]{22,255}|glpat-[0-9A-Za-z_\-]{20,64}"
    r"|xox[abeoprs]-[0-9A-Za-z\-]{10,250}|xapp-[0-9A-Za-z\-]{10,250}|(?:sk|rk|pk)_(?:live|test)_[0-9A-Za-z]{16,250}"
    r"|sk-(?:proj-|ant-|or-|svcacct-)?[0-9A-Za-z_\-]{20,250}|hf_[0-9A-Za-z]{30,64}|npm_[0-9A-Za-z]{36}|pypi-[0-9A-Za-z_\-]{50,250}"
    r"|SG\.[0-9A-Za-z_\-]{16,64}\.[0-9A-Za-z_\-]{16,64}|ya29\.[0-9A-Za-z_\-]{20,250}|dop_v1_[0-9a-f]{64}|shp(?:at|ss|ca|pa)_[0-9A-Fa-f]{32}"
    r"|EAACEdEose0cBA[0-9A-Za-z]{10,250}|dapi[0-9a-f]{32}|tvly-[0-9A-Za-z\-]{20,64})(?![0-9A-Za-z_])"
)
_JWT = re.compile(r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_\-]{8,}\.eyJ[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*)?")
_JWT_OPEN = re.compile(r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_\-.]{40,}\Z")
_PEM = re.compile(r"-----BEGIN (?:[A-Z0-9]{2,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----\n{0,2}[A-Za-z0-9+/=]{16}")
_NAMED = re.compile(
    r"(?:密码|口令|密钥|令牌|私钥|授权码|(?:api|access|secret|private|auth|app)[_\- ]?(?:key|token|secret)"
    r"(?:[_\- ]?id)?|(?<![a-z])(?:password|passwd|passphrase|pwd|token|secret|credential|bearer|apikey|client_secret))"
    r"(?:(?: is|是|为)?[\s:=\"'是为]{1,4}|是|为)$"
)
_VALUE = re.compile(r"(?<![A-Za-z0-9_\-+/=.@#$!~^*&%])[A-Za-z0-9@#$!~^*&%_\-+/.]{5,250}={0,2}")
_VALUE_BEHIND_SIGN = re.compile(r"(?<=[=:])[A-Za-z0-9@#$!~^*%_\-+/.]{5,250}={0,2}")
_NO_WORD = re.compile("[0-9@#$!~^*&%]")
_KINDS = tuple(map(re.compile, ("[a-z]", "[A-Z]", "[0-9]", "[^A-Za-z0-9]")))
_SHORTEST = 6  # characters of a password
FRAMED = 96  # of a stretch that is not whole
_PEM_BODY = r"(?:(?!-----END)[A-Za-z0-9+/=\s:,.\-])"
PEM_END = r"-----END [A-Z0-9 ]{2,40}-----"


def _prefixed(match: re.Match[str], stretch: Stretch) -> str | None:
    text = match.group()
    mixed = any(c.isdigit() for c in text) and len(set(text)) > 8
    return text if mixed else None


def _any(match: re.Match[str], stretch: Stretch) -> str | None:
    return match.group()


def _open(match: re.Match[str], stretch: Stretch) -> str | None:
    """A token that is longer than a stretch."""
    return None if stretch.end - stretch.start < FRAMED else match.group()


def _named(match: re.Match[str], stretch: Stretch) -> str | None:
    """A word says so directly before it, and it is no word itself."""
    text = match.group().rstrip(".!?")
    if len(text) < _SHORTEST or not _NO_WORD.search(text):  # most: what stands before them need not be looked at
        return None
    kinds = sum([kind.search(text) is not None for kind in _KINDS])
    return text if kinds >= 2 and _NAMED.search(stretch.before(match.start(), 28)) else None


_PREFIXES = (
    r"AKIA|ASIA|LTAI|AKID|AIza|gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|xapp-|_live_|_test_|sk-|hf_|npm_|pypi-|SG\."
    r"|ya29\.|dop_v1_|shp(?:at|ss|ca|pa)_|EAACEdEose0cBA|dapi|tvly-"
)
_NAMED_VALUE = Shape("SECRET", "named", _VALUE, _named, said=said.SECRET, least=_SHORTEST, goes_on=_TOKEN_CHARACTERS)
SECRETS = (
    Shape("SECRET", "private-key", _PEM, _any, screen="-----BEGIN ", goes_on=f"{_PEM_BODY}|{PEM_END}", endless=True),
    Shape("SECRET", "jwt", _JWT, _any, screen="eyJ", goes_on=r"[A-Za-z0-9_\-.]"),
    Shape("SECRET", "jwt", _JWT_OPEN, _open, screen="eyJ", goes_on=r"[A-Za-z0-9_\-.]", cut_off=True),
    Shape("SECRET", "issuer-prefix", _PREFIXED, _prefixed, screen=_PREFIXES, goes_on=_TOKEN_CHARACTERS),
    _NAMED_VALUE,
    _NAMED_VALUE._replace(pattern=_VALUE_BEHIND_SIGN, screen="[=:]"),
)
