"""`strongroom chat` against a gateway of our own: at a terminal, and at the end of a pipe."""

from __future__ import annotations

import faulthandler
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest
from strongroom.audit.v1 import audit_pb2
from strongroom.cli.conversation import Conversation
from strongroom.cli.screens import masked_lines
from strongroom.client import Message, Question
from strongroom.monitor.v1 import monitor_pb2

COMMAND = [sys.executable, "-m", "strongroom.cli.main", "chat"]
# In a session of its own, so that Ctrl-C on this terminal reaches it and nobody else.
ON_ITS_TERMINAL = (
    "import faulthandler, fcntl, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "faulthandler.register(signal.SIGUSR1, all_threads=True); "
    "from strongroom.cli.main import main; sys.exit(main(['chat', *sys.argv[1:]]))"
)
SECONDS = 10.0


def piped(text: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *options], input=text, capture_output=True, text=True, timeout=30)


class Terminal:
    """A chat on a terminal of 96 columns: what is typed, and what has been shown so far, without colours."""

    def __init__(self, *options: str) -> None:
        self._ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 96, 0, 0))
        environ = {**os.environ, "TERM": "xterm"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", ON_ITS_TERMINAL, *options],
            stdin=theirs, stdout=theirs, stderr=theirs, env=environ, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self._raw = b""

    @property
    def shown(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|[\x01\x02\r]", "", self._raw.decode(errors="replace"))

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def until(self, text: str, times: int = 1) -> str:
        """Reads until it was shown so many times."""
        deadline = time.monotonic() + SECONDS
        while self.shown.count(text) < times:
            ready, _, _ = select.select([self._ours], [], [], max(deadline - time.monotonic(), 0))
            assert ready and self._read(), f"{text!r} was not shown:\n{self.shown}\n{self._threads()}"
        return self.shown

    def _threads(self) -> str:
        """Where both sides stand: a test that hangs once in a hundred times must say why."""
        faulthandler.dump_traceback(sys.__stderr__)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGUSR1)
            while select.select([self._ours], [], [], 1.0)[0] and self._read():
                pass
        return self.shown[-6000:]

    def at_its_prompt(self, times: int) -> None:
        """Until it waits for a line: a Ctrl-C after the prompt is drawn and before is seen at the next key only."""
        self.until("› ", times)
        deadline = time.monotonic() + SECONDS
        while self._cooked() or not self._sleeps():
            assert time.monotonic() < deadline, f"no line is read:\n{self._threads()}"
            time.sleep(0.01)

    def _cooked(self) -> bool:
        return bool(termios.tcgetattr(self._ours)[3] & termios.ICANON)

    def _sleeps(self) -> bool:
        """The main thread, by what the kernel says of it."""
        stat = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/stat").read_text()
        return stat.rpartition(") ")[2].startswith("S")

    def ended(self) -> int:
        while self._read():
            pass
        return self.process.wait(10)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)
        os.close(self._ours)

    def _read(self) -> bool:
        try:
            read = os.read(self._ours, 4096)
        except OSError:  # the other side is gone
            return False
        self._raw += read
        return bool(read)


@pytest.fixture
def terminal(stack: Any) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def opening(*options: str) -> Terminal:
        opened.append(Terminal(*options))
        opened[-1].until("› ")
        return opened[-1]

    yield opening
    for terminal in opened:
        terminal.close()


def turns(request: Any) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in request.prompt.messages]


def test_reasoning_is_shown_before_the_answer_and_not_sent_again(stack: Any, terminal: Callable[..., Terminal]) -> None:
    stack.reasoning = "Vaults close at six."
    chat = terminal()
    chat.type("Is the vault closed?\n")
    chat.until("verified offline")
    shown = chat.until("› ", 2)
    assert shown.index("Vaults close at six.") < shown.index("The vault is closed.")
    chat.type("Sure?\n")
    chat.until("verified offline", 2)
    said = [message.content for message in stack.asked[-1].prompt.messages]
    assert said == ["Is the vault closed?", "The vault is closed.", "Sure?"]


def test_at_a_pipe_answers_go_to_standard_output_and_each_turn_carries_those_before(stack: Any) -> None:
    ended = piped("Is it closed?\n\n//what?\n", "--system", "Short.")
    assert (ended.returncode, ended.stdout) == (0, "The vault is closed.\n" * 2)
    assert ended.stderr.count("receipt DURABLE, verified offline") == 2
    assert turns(stack.asked[-1]) == [
        ("system", "Short."),
        ("user", "Is it closed?"),
        ("assistant", "The vault is closed."),
        ("user", "/what?"),
    ]
    assert stack.asked[-1].prompt.priority == 1  # a person waits


def test_commands_change_what_the_next_question_carries(stack: Any) -> None:
    ended = piped("One\n/new\n/system Be brief.\nTwo\n/system -\n/quit\nThree\n")
    assert ended.returncode == 0
    assert [turns(asked) for asked in stack.asked] == [
        [("user", "One")],
        [("system", "Be brief."), ("user", "Two")],
    ]
    assert "no system message but the firm's own" in ended.stdout


def test_a_refused_turn_is_not_kept(stack: Any) -> None:
    stack.finish_reason, stack.text = "REFUSED", ("此内容违反使用政策",)
    assert piped("bad\ngood\n").returncode == 0
    assert turns(stack.asked[-1]) == [("user", "good")]


@pytest.mark.parametrize(("code", "reason", "exit_code"), [(3, "PROMPT_TOO_LONG", 2), (13, "INTERNAL", 5)])
def test_at_a_pipe_a_turn_that_fails_ends_the_chat_as_it_ends_ask(
    stack: Any, failing: Any, code: int, reason: str, exit_code: int
) -> None:
    stack.failure = failing(code, reason, "what is wrong: what to do")
    ended = piped("One\nTwo\n")
    assert ended.returncode == exit_code and len(stack.asked) == 1
    assert ended.stderr.startswith("strongroom: what is wrong: what to do [") and "Traceback" not in ended.stderr


def test_a_receipt_that_does_not_hold_ends_it_with_5(stack: Any) -> None:
    stack.tampered = True
    ended = piped("One\n")
    assert ended.returncode == 5 and "DOES NOT VERIFY" in ended.stderr


def test_without_a_key_or_a_gateway_there_is_no_chat(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRONGROOM_ADDRESS", "127.0.0.1:1")
    ended = piped("One\n")
    assert ended.returncode == 5 and "no gateway answers at 127.0.0.1:1" in ended.stderr
    monkeypatch.setenv("STRONGROOM_KEYS", str(stack.home / "none"))
    ended = piped("One\n")
    assert ended.returncode == 2 and "no API key" in ended.stderr


def test_at_a_terminal_an_answer_stands_between_the_question_and_what_is_known_of_it(
    stack: Any, terminal: Callable[..., Terminal]
) -> None:
    chat = terminal("--adapter", "tone")
    assert "Strongroom · tiny (echo, 64 tokens) · adapter tone · 127.0.0.1:" in chat.shown
    chat.type("my 6222020200011112\n")
    shown = chat.until("r-1\n")
    assert stack.asked[-1].prompt.adapter == "tone"
    assert "\n  The vault is closed.\n" in shown
    assert "✓ ALLOW · 7 + 4 tokens" in shown
    assert "masked BANK_CARD C2 before the model saw it: my ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒\n" in shown
    assert "receipt DURABLE, verified offline: entry 0 of 1 of a DEVELOPMENT log" in shown
    chat.type("/quit\n")
    assert chat.ended() == 0


def test_ctrl_c_cancels_the_answer_and_not_the_chat(stack: Any, terminal: Callable[..., Terminal]) -> None:
    chat = terminal()
    stack.waits = True
    chat.type("Why?\n")
    chat.until("accepted and recorded")
    chat.type("\x03")
    chat.until("stopped · not kept in this chat")
    assert stack.left.wait(10)
    stack.waits = False
    chat.at_its_prompt(times=2)
    chat.type("half a question\x03")
    chat.until("Ctrl-D or /quit leaves")
    chat.type("Again?\n")
    chat.until("The vault is closed.")
    assert turns(stack.asked[-1]) == [("user", "Again?")]
    chat.until("› ", times=4)
    chat.type("\x04")
    assert chat.ended() == 0


def test_at_a_terminal_a_turn_that_fails_ends_nothing_but_is_remembered(
    stack: Any, terminal: Callable[..., Terminal], failing: Any
) -> None:
    chat = terminal()
    stack.failure, stack.breaks_after = failing(13, "ENGINE_ERROR", "the worker could not answer"), 1
    chat.type("Why?\n")
    chat.until("the worker could not answer [INTERNAL ENGINE_ERROR] · kept as far as it came")
    chat.until("› ", times=2)
    chat.type("/quit\n")
    assert chat.ended() == 5


def test_an_answer_cannot_command_the_terminal(stack: Any, terminal: Callable[..., Terminal]) -> None:
    stack.text = ("\x1b]0;owned\x07 gone ", "\x9b2J")
    chat = terminal()
    chat.type("Why?\n")
    assert "␛]0;owned␇ gone" in chat.until("receipt ")
    assert "\x07" not in chat.shown and "\x9b" not in chat.shown


def test_the_last_receipt_and_trace_can_be_looked_at(stack: Any, terminal: Callable[..., Terminal]) -> None:
    span = monitor_pb2.Span(span_id="1", service="gateway", name="chat tiny", pid=7)
    stack.traces = [monitor_pb2.GetTraceResponse(trace_id="ab" * 16, complete=True, spans=[span])]
    stack.records = [audit_pb2.RecordSummary(record_id="r-1")]
    chat = terminal()
    chat.type("/trace\n")
    chat.until("nothing was asked yet")
    chat.type("Why?\n")
    chat.until("r-1\n")
    chat.type("/receipt\n")
    shown = chat.until("keep it    strongroom receipt r-1 > FILE")
    assert "proves     answer_released, request_received" in shown and stack.log.vkey in shown
    chat.type("/trace\n")
    chat.until("1 spans, 1 processes")
    chat.type("/nonsense\n")
    chat.until("/nonsense is no command")
    chat.type("/help\n")
    chat.until("/system [TEXT]")


def test_what_is_pasted_is_one_message(stack: Any, terminal: Callable[..., Terminal]) -> None:
    chat = terminal()
    chat.type("\x1b[200~one\ntwo\x1b[201~\n")
    chat.until("r-1\n")
    chat.type("three \\\nfour\n")
    chat.until("r-1\n", times=2)
    assert [turns(asked)[-1][1] for asked in stack.asked] == ["one\ntwo", "three \nfour"]


def finding(start: int, end: int, side: str = "prompt", message: int = 0) -> dict[str, object]:
    return {"type": "MOBILE_NUMBER", "level": "C2", "start": start, "end": end, "side": side, "message_index": message}


def test_masked_data_is_located_and_never_shown(answer: Callable[..., Any]) -> None:
    text = "我的手机号是13812345678,帮我写一封信给他们,请快一点"
    question = Question(messages=(Message("user", "earlier"), Message("user", text)))
    found = [finding(6, 17, message=1), finding(0, 3), finding(0, 3, side="answer")]
    lines = masked_lines(question, answer(findings=found))
    assert lines == [
        "masked MOBILE_NUMBER C2 before the model saw it: 我的手机号是▒▒▒▒▒▒▒▒▒▒▒,帮我写一封信给他们,请…",
        "masked MOBILE_NUMBER C2 in the answer",
        "masked 1 in earlier messages",
    ]
    many = masked_lines(question, answer(findings=[finding(6, 17, message=1)] * 9))
    assert len(many) == 5 and many[-1] == "masked 5 more"


def test_what_stands_beside_masked_data_may_be_masked_data_too(answer: Callable[..., Any]) -> None:
    question = Question.of("13812345678 13912345678")
    lines = masked_lines(question, answer(findings=[finding(0, 11), finding(12, 23)]))
    assert len(lines) == 2 and not any(re.search("[0-9]", line.partition(":")[2]) for line in lines)


def test_an_answer_without_a_word_makes_no_turn(answer: Callable[..., Any]) -> None:
    conversation = Conversation()
    assert not conversation.answered("Why?", answer(text=" "))
    assert conversation.answered("Why?", answer(text="So.", finish_reason="WITHHELD"))
    assert len(conversation.question("And?").messages) == 3
