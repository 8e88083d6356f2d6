"""Texts of a caller beside the messages: what a grammar and stop strings can have an answer say, or cut it by."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chassis.failures import InvalidArgument
from chassis.grammars import JSON_SCHEMA
from services.gateway.requests.outcome import Finding
from services.gateway.requests.sampling import Sampling

# Between two literals, which an answer may have far from each other. No detector reads on over it.
_APART = " ; "
_HEX = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|[xuU]\{([0-9a-fA-F]{1,8})\})")
_ESCAPED = re.compile(r"\\([^\w\s])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Beside:
    """What the guard looks through, and the field that each text came in."""

    texts: tuple[str, ...]
    fields: tuple[str, ...]

    def refusal(self, findings: Sequence[Finding]) -> InvalidArgument:
        """What the caller is told of the first text in which something would have to be masked."""
        index = findings[0].message_index
        field = self.fields[index]
        kinds = sorted({finding.type for finding in findings if finding.message_index == index})
        return InvalidArgument(
            f"{field} holds what policy masks in prompts ({', '.join(kinds)}); masked it would ask for something else: "
            "take it out",
            field=field,
            reason="CANNOT_BE_MASKED",
        )


def texts_beside(sampling: Sampling) -> Beside:
    """None for most requests. A logit bias is no text: its tokens have no order."""
    found: dict[str, str] = {}
    if sampling.grammar is not None:
        kind, text, name = sampling.grammar
        literals = _of_schema(text) if kind == JSON_SCHEMA else _of_regex(text)
        found[f"prompt.sampling.{name}"] = _APART.join(literals)
    if sampling.stop:
        found["prompt.sampling.stop"] = _APART.join(sampling.stop)
    return Beside(tuple(found.values()), tuple(found))


def _of_schema(text: str) -> Iterator[str]:
    """Names, strings and numbers, as they are written. Strings may be regular expressions, too."""
    try:
        document = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):  # it is refused elsewhere
        yield text
        return
    waiting: list[Any] = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for name, member in reversed(value.items()):
                waiting += [member, name]
        elif isinstance(value, list):
            waiting += reversed(value)
        elif isinstance(value, str):
            yield from _of_regex(value)


def _of_regex(text: str) -> Iterator[str]:
    """As it stands, and once more as it matches where characters are escaped."""
    yield text
    if "\\" in text:
        yield _ESCAPED.sub(r"\1", _HEX.sub(_character, text))


def _character(found: re.Match[str]) -> str:
    number = int(next(filter(None, found.groups())), 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else found[0]
