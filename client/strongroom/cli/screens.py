"""How a conversation looks: to a person at a terminal, and to a program at the end of a pipe."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from strongroom.cli.findings import receipt_line, summary, unfinished, verdict
from strongroom.cli.flow import HANGING_COLUMNS, Flow
from strongroom.cli.terminal import Paint, visible
from strongroom.client import Answer, Piece, Question, Verification

WIDEST = 100  # columns; longer lines are hard to read
INDENT = "  "
CONTEXT = 12  # characters shown on either side of what was masked
MOST_FINDINGS = 4


class Screen(Protocol):
    """Where a chat reads and writes."""

    goes_on: bool  # after a turn that failed

    def opened(self, lines: Sequence[str]) -> None: ...

    def read(self) -> str | None: ...

    def waits(self, what: str) -> None: ...

    def piece(self, piece: Piece) -> None: ...

    def answered(self, question: Question, answer: Answer, verification: Verification | None, kept: bool) -> None: ...

    def broke_off(self, why: str) -> None: ...

    def told(self, lines: Iterable[str]) -> None: ...


class PlainScreen:
    """A message a line on standard input; answers alone on standard output, what is known of them beside it."""

    goes_on = False

    def __init__(self) -> None:
        self._line_begun = False

    def opened(self, lines: Sequence[str]) -> None:
        pass

    def read(self) -> str | None:
        line = sys.stdin.readline()
        return line.rstrip("\n") if line else None

    def waits(self, what: str) -> None:
        pass

    def piece(self, piece: Piece) -> None:
        self._line_begun = self._line_begun or bool(piece.text)
        print(piece.text, end="", flush=True)

    def answered(self, question: Question, answer: Answer, verification: Verification | None, kept: bool) -> None:
        self._end_line()
        print(summary(answer, verification), file=sys.stderr, flush=True)

    def broke_off(self, why: str) -> None:
        self._end_line()
        print(f"strongroom: {why}", file=sys.stderr, flush=True)

    def told(self, lines: Iterable[str]) -> None:
        for line in lines:
            print(line, flush=True)

    def _end_line(self) -> None:
        if self._line_begun:
            print(flush=True)
        self._line_begun = False


class TerminalScreen:
    """Wraps and colours for a person, and erases what only said that one has to wait."""

    goes_on = True

    def __init__(self, commands: Sequence[str]) -> None:
        self._paint = Paint.of(sys.stdout)
        self._moves = os.environ.get("TERM") != "dumb"
        self._waiting = False
        self._flow: Flow | None = None
        self._thinking = False
        _edit_lines(commands)

    def opened(self, lines: Sequence[str]) -> None:
        first, *rest = lines
        self._print(self._paint(self._wrapped(first).removeprefix(INDENT), "bold"))
        self.told(rest)

    def read(self) -> str | None:
        """One message; a line that ends with a backslash goes on. Ctrl-C begins it anew."""
        lines: list[str] = []
        while True:
            try:
                line = input(self._paint.prompt("… " if lines else "› ", "bold", "cyan"))
            except EOFError:
                self._print("")
                return None
            except KeyboardInterrupt:
                self._print("")
                if not lines:
                    self.told(["Ctrl-D or /quit leaves"])
                lines = []
                continue
            if not line.endswith("\\"):
                return "\n".join([*lines, line])
            lines.append(line[:-1])

    def waits(self, what: str) -> None:
        if self._moves:
            self._erase()
            self._print(self._paint(f"{INDENT}{visible(what)}"[: self._width()], "dim"), end="")
            self._waiting = True

    def piece(self, piece: Piece) -> None:
        if piece.reasoning:
            self._words(piece.reasoning, thinking=True)
        if piece.text:
            self._words(piece.text, thinking=False)

    def answered(self, question: Question, answer: Answer, verification: Verification | None, kept: bool) -> None:
        self._end_words()
        judged, style = _judged(answer)
        measured = self._wrapped(judged + _measures(answer, kept)).removeprefix(INDENT + judged)
        self._print(INDENT + self._paint(judged, style) + self._paint(measured, "dim"))
        for line in masked_lines(question, answer):
            self._print(self._paint(self._wrapped(line), "yellow"))
        styles = ("red", "bold") if verification is not None and not verification else ("dim",)
        line = f"receipt {receipt_line(answer.receipt_state, verification)}"
        fits = len(INDENT) + len(line) + 3 + len(answer.request_id) < self._width() - HANGING_COLUMNS
        line += f"{' · ' if fits else chr(10)}{answer.request_id}"
        self._print(self._paint(self._wrapped(line), *styles) + "\n")

    def broke_off(self, why: str) -> None:
        self._end_words()
        self._print(self._paint(self._wrapped(f"✗ {why}"), "red") + "\n")

    def told(self, lines: Iterable[str]) -> None:
        """Not wrapped: what is copied from here stays whole."""
        for line in lines:
            self._print(self._paint(INDENT + visible(line), "dim"))
        self._print("")

    def _words(self, text: str, thinking: bool) -> None:
        self._erase()
        if self._flow is None or thinking != self._thinking:
            if self._flow is not None:
                self._flow.end_line()
            self._print("")
            write = lambda words: self._print(self._paint(words, "dim") if thinking else words, end="")
            self._flow = Flow(write, self._width(), INDENT, self._moves)
            self._thinking = thinking
        self._flow.feed(text)

    def _end_words(self) -> None:
        self._erase()
        if self._flow is not None:
            self._flow.end_line()
            self._flow = None
        self._print("")

    def _wrapped(self, text: str) -> str:
        lines: list[str] = []
        Flow(lines.append, self._width(), INDENT).feed(text)
        return "".join(lines)

    def _width(self) -> int:
        """Without the last column, where terminals differ."""
        return min(shutil.get_terminal_size().columns - 1, WIDEST)

    def _erase(self) -> None:
        if self._waiting:
            self._print("\r\x1b[K", end="")
            self._waiting = False

    def _print(self, text: str, end: str = "\n") -> None:
        print(text, end=end, flush=True)


def _judged(answer: Answer) -> tuple[str, str]:
    """The verdict with its mark, and its colour."""
    if answer.finish_reason in ("REFUSED", "WITHHELD"):
        return f"✗ {answer.finish_reason}{f' ({answer.rule})' if answer.rule else ''}", "red"
    mark, style = ("✓", "green") if answer.verdict == "ALLOW" else ("!", "yellow")
    return f"{mark} {verdict(answer)}", style


def masked_lines(question: Question, answer: Answer) -> list[str]:
    """Where personal data was masked in what was just said and answered, and how often before; never the data."""
    last = len(question.messages) - 1
    own = [found for found in answer.findings if found["side"] == "prompt" and found["message_index"] == last]
    text = _without([_span(found) for found in own], question.messages[last].content)
    lines = [f"{_kind(found)} before the model saw it: {visible(_around(text, *_span(found)))}" for found in own]
    lines += [f"{_kind(found)} in the {found['side']}" for found in answer.findings if found["side"] != "prompt"]
    earlier = len(answer.findings) - len(lines)
    if len(lines) > MOST_FINDINGS:
        lines[MOST_FINDINGS:] = [f"masked {len(lines) - MOST_FINDINGS} more"]
    return [*lines, f"masked {earlier} in earlier messages"] if earlier else lines


def _kind(finding: Mapping[str, object]) -> str:
    return f"masked {finding['type']} {finding['level']}"


def _span(finding: Mapping[str, object]) -> tuple[int, int]:
    return int(str(finding["start"])), int(str(finding["end"]))


def _without(spans: Iterable[tuple[int, int]], text: str) -> str:
    """All of them at once: what stands around one may be another."""
    for start, end in spans:
        text = text[:start] + "▒" * len(text[start:end]) + text[end:]
    return text


def _around(text: str, start: int, end: int) -> str:
    before, after = "…" if start > CONTEXT else "", "…" if end + CONTEXT < len(text) else ""
    return " ".join(f"{before}{text[max(start - CONTEXT, 0) : end + CONTEXT]}{after}".split())


def _measures(answer: Answer, kept: bool) -> str:
    total, first = answer.timings.get("total_ms", 0) / 1000, answer.timings.get("first_release_ms", 0) / 1000
    facts = [
        f"{answer.input_tokens} + {answer.output_tokens} tokens" if answer.output_tokens else "",
        f"{total:.1f} s" + (f", first words after {first:.1f} s" if first and answer.output_tokens else ""),
        "stopped at the length limit" if answer.finish_reason == "LENGTH" else "",
        unfinished(answer),
        "" if kept else "not kept in this chat",
    ]
    return "".join(f" · {fact}" for fact in facts if fact)


def _edit_lines(commands: Sequence[str]) -> None:
    """Arrow keys and completion, where there is an editor. What was typed is never written to a file."""
    try:
        import readline
    except ImportError:
        return
    readline.set_completer_delims(" \n")
    readline.set_completer(lambda text, state: [*(c for c in commands if text and c.startswith(text)), None][state])
    readline.parse_and_bind("tab: complete")
    readline.parse_and_bind("set enable-bracketed-paste on")  # what is pasted is one message, however many lines
