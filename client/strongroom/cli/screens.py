"""How a conversation looks: to a person at a terminal, and to a program at the end of a pipe."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Protocol

from strongroom.cli.findings import receipt_line, summary, verdict
from strongroom.cli.flow import Flow
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
        self._waiting = False
        self._flow: Flow | None = None
        self._thinking = False
        _edit_lines(commands)

    def opened(self, lines: Sequence[str]) -> None:
        first, *rest = lines
        self._print(self._paint(visible(first), "bold"))
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
        if self._paint.on:
            self._erase()
            self._print(self._paint(f"{INDENT}{visible(what)}", "dim"), end="")
            self._waiting = True

    def piece(self, piece: Piece) -> None:
        if piece.reasoning:
            self._words(piece.reasoning, thinking=True)
        if piece.text:
            self._words(piece.text, thinking=False)

    def answered(self, question: Question, answer: Answer, verification: Verification | None, kept: bool) -> None:
        self._end_words()
        self._print(f"{INDENT}{self._verdict(answer)}{self._paint(_measures(answer, kept), 'dim')}")
        for line in masked_lines(question, answer):
            self._print(f"{INDENT}{self._paint(line, 'yellow')}")
        styles = ("red", "bold") if verification is not None and not verification else ("dim",)
        line = f"receipt {receipt_line(answer.receipt_state, verification)} · {answer.request_id}"
        self._print(f"{INDENT}{self._paint(visible(line), *styles)}\n")

    def broke_off(self, why: str) -> None:
        self._end_words()
        self._print(f"{INDENT}{self._paint(f'✗ {visible(why)}', 'red')}\n")

    def told(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._print(self._paint(f"{INDENT}{visible(line)}", "dim") if line else "")
        self._print("")

    def _words(self, text: str, thinking: bool) -> None:
        self._erase()
        if self._flow is None or thinking != self._thinking:
            if self._flow is not None:
                self._flow.end_line()
            self._print("")
            width = min(shutil.get_terminal_size().columns - 1, WIDEST)  # the last column is where terminals differ
            styles = ("dim",) if thinking else ()
            self._flow = Flow(lambda words: self._print(self._paint(words, *styles) if styles else words, end=""),
                              width, INDENT)  # fmt: skip
            self._thinking = thinking
        self._flow.feed(text)

    def _end_words(self) -> None:
        self._erase()
        if self._flow is not None:
            self._flow.end_line()
            self._flow = None
        self._print("")

    def _verdict(self, answer: Answer) -> str:
        if answer.finish_reason in ("REFUSED", "WITHHELD"):
            return self._paint(f"✗ {answer.finish_reason}{f' ({answer.rule})' if answer.rule else ''}", "red")
        mark, style = ("✓", "green") if answer.verdict == "ALLOW" else ("!", "yellow")
        return self._paint(f"{mark} {verdict(answer)}", style)

    def _erase(self) -> None:
        if self._waiting:
            self._print("\r\x1b[K", end="")
            self._waiting = False

    def _print(self, text: str, end: str = "\n") -> None:
        print(text, end=end, flush=True)


def masked_lines(question: Question, answer: Answer) -> list[str]:
    """Where personal data was masked in what was just said and answered, and how often before; never the data."""
    last = len(question.messages) - 1
    text, lines, earlier = question.messages[last].content, [], 0
    for finding in answer.findings:
        kind = f"masked {finding['type']} {finding['level']}"
        if finding["side"] != "prompt":
            lines.append(f"{kind} in the answer")
        elif finding["message_index"] == last:
            around = _around(text, int(str(finding["start"])), int(str(finding["end"])))
            lines.append(f"{kind} before the model saw it: {visible(around)}")
        else:
            earlier += 1
    if len(lines) > MOST_FINDINGS:
        lines[MOST_FINDINGS:] = [f"masked {len(lines) - MOST_FINDINGS} more"]
    return [*lines, f"masked {earlier} in earlier messages"] if earlier else lines


def _around(text: str, start: int, end: int) -> str:
    before, after = text[max(start - CONTEXT, 0) : start], text[end : end + CONTEXT]
    dots = "…" if start > CONTEXT else "", "…" if end + CONTEXT < len(text) else ""
    return " ".join(f"{dots[0]}{before}{'▒' * min(end - start, CONTEXT)}{after}{dots[1]}".split())


def _measures(answer: Answer, kept: bool) -> str:
    total, first = answer.timings.get("total_ms", 0) / 1000, answer.timings.get("first_release_ms", 0) / 1000
    facts = [
        f"{answer.input_tokens} + {answer.output_tokens} tokens" if answer.output_tokens else "",
        f"{total:.1f} s" + (f", first words after {first:.1f} s" if first and answer.output_tokens else ""),
        "stopped at the length limit" if answer.finish_reason == "LENGTH" else "",
        "" if kept else "not kept in this conversation",
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
