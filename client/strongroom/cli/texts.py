"""The text a command works on: an argument, or standard input for `-`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from strongroom.cli.ending import Complaint


def text_of(argument: str) -> str:
    """The argument itself, or all of standard input."""
    if argument != "-":
        return argument
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise Complaint(f"standard input is not UTF-8 (byte {error.start}): convert it first") from None


def texts_of_lines(argument: str) -> Iterator[str]:
    """The `text` of each line's object, as the lines come."""
    lines = sys.stdin.buffer if argument == "-" else iter(argument.encode().splitlines())
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError):
            raise Complaint(f"line {number} is not a JSON object with a member `text`") from None
        if not isinstance(text, str):
            raise Complaint(f"line {number}: `text` is not a string")
        yield text
