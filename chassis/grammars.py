"""Grammars that an answer must match, read by llguidance within fixed limits: what gateways check and workers run."""

from __future__ import annotations

import re

from llguidance import LLMatcher, LLParserLimits

JSON_SCHEMA, REGEX = "JSON_SCHEMA", "REGEX"
KINDS = (JSON_SCHEMA, REGEX)
ANY_OBJECT = '{"type":"object"}'
MAX_GRAMMAR_CHARS = 32_768

_PLAIN_WORD = re.compile(r"""[(\["'/]*[a-z$][A-Za-z$-]{0,31}[)\]"',.:;/]*""", re.ASCII)

# Without a bound a small model can go on with spaces for ever; pretty-printed JSON stays possible.
_WHITE_SPACE = r"[\x20\x0A\x0D\x09]{0,40}"


def limits() -> LLParserLimits:
    """A step's part takes about 5 ms at most, a grammar's states some 20 MB. What one may not reach, it fails at."""
    return LLParserLimits(
        initial_lexer_fuel=500_000,
        step_lexer_fuel=50_000,
        step_max_items=20_000,
        max_lexer_states=10_000,
        max_grammar_size=50_000,
        verbose_errors=False,
    )


def source(kind: str, text: str) -> str:
    """The grammar in the library's own form. Raises ValueError for JSON that is none."""
    if kind == REGEX:
        return LLMatcher.grammar_from_regex(text)
    return LLMatcher.grammar_from_json_schema(text, overrides={"whitespace_pattern": _WHITE_SPACE})


def fault(kind: str, text: str) -> str:
    """What is wrong with a grammar, for its sender; empty when nothing is.

    There are grammars that keep the library busy for minutes: ask in a process that can be ended.
    """
    try:
        wrong, said = LLMatcher.validate_grammar_with_warnings(source(kind, text), limits=limits())
    except ValueError as error:
        return _without_quotes(str(error))
    return _without_quotes(said[0]) if wrong else ""


def _without_quotes(said: str) -> str:
    """The library quotes a grammar, which nobody has looked through for personal data: of a regular expression it says
    what is wrong last, and elsewhere only words in small letters stay, such as a keyword's or a type's name."""
    said = said.partition("error: ")[2].partition("\n")[0] or said
    first, *rest = said.split() or [""]
    return " ".join(word if _PLAIN_WORD.fullmatch(word) else "…" for word in [first.lower(), *rest])
