"""`strongroom chat`: a conversation, each turn of it guarded, recorded and receipted."""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import Any

from strongroom.cli.conversation import Conversation
from strongroom.cli.ending import CALLERS_OWN, FAILED, OK, describe
from strongroom.cli.findings import log_key, verified
from strongroom.cli.options import add_question_options, question_options
from strongroom.cli.screens import PlainScreen, Screen, TerminalScreen
from strongroom.cli.services import calling, naming
from strongroom.cli.trace import waterfall, whole_trace
from strongroom.client import (
    Answer,
    CallFailed,
    Client,
    InternalFailure,
    Location,
    Model,
    Piece,
    Question,
    Started,
    Stream,
    verify_receipt,
)
from strongroom.location import locate
from strongroom.monitor.v1 import monitor_pb2_grpc

COMMANDS = {
    "/new": "begin a new conversation; the system message stays",
    "/system [TEXT]": "show or set the system message; - removes it",
    "/receipt": "the last answer's receipt, fetched again and verified",
    "/trace": "where the last answer's time went",
    "/help": "these lines; a message that begins with / is written //",
    "/quit": "leave, as Ctrl-D does; Ctrl-C stops an answer",
}


def register(commands: Any, shared: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("chat", parents=[shared], help="a conversation", description=__doc__)
    add_question_options(parser, priority="interactive")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    location = locate(arguments.home)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    screen: Screen = TerminalScreen([name.split()[0] for name in COMMANDS]) if terminal else PlainScreen()
    conversation = Conversation(arguments.system, question_options(arguments))
    with Client(location, arguments.timeout) as client:
        try:
            models = client.models()
        except CallFailed as failure:
            raise naming("gateway", location.address("gateway"), failure) from None
        screen.opened(_opening(location, models, arguments.model, arguments.adapter))
        return Chat(client, location, conversation, screen).run()


class Chat:
    """One conversation on one screen. It ends as its last turn did; behind a pipe the first failure is the last."""

    def __init__(self, client: Client, location: Location, conversation: Conversation, screen: Screen) -> None:
        self._client, self._location, self._screen = client, location, screen
        self._conversation = conversation
        self._question: Question | None = None
        self._answer: Answer | None = None
        self._request_id = ""  # of the last turn that was accepted
        self._key = ""  # the log's, asked once: later receipts are held against the same key

    def run(self) -> int:
        code = OK
        while (line := self._screen.read()) is not None:
            if line.startswith("/") and not line.startswith("//"):
                if not self._obey(line):
                    break
            elif line.strip():
                code = self._turn(line[1:] if line.startswith("//") else line)
                if code != OK and not self._screen.goes_on:
                    break
        return code

    def _turn(self, text: str) -> int:
        question, words = self._conversation.question(text), list[str]()
        self._screen.waits("asking …")
        try:
            with self._client.stream(question) as stream:
                self._question, self._answer = question, None
                answer = self._read(stream, words)
        except KeyboardInterrupt:
            if not self._screen.goes_on:
                raise
            self._screen.broke_off(self._left_off("stopped", text, words))
            return FAILED
        except CallFailed as failure:
            told = describe(naming("gateway", self._location.address("gateway"), failure))
            self._screen.broke_off(self._left_off(told, text, words))
            return CALLERS_OWN if failure.is_callers_own else FAILED
        kept = self._conversation.answered(text, answer)
        self._key = self._key or log_key(self._location)
        verification = verified(question, answer, self._key)
        self._screen.answered(question, answer, verification, kept)
        return FAILED if verification is not None and not verification else OK

    def _read(self, stream: Stream, words: list[str]) -> Answer:
        for event in stream:
            if isinstance(event, Started):
                self._request_id = event.request_id
                self._screen.waits("accepted and recorded, waiting for the first words …")
            elif isinstance(event, Piece):
                words.append(event.text)
                self._screen.piece(event)
            else:
                self._answer = event
                return event
        raise InternalFailure("the stream ended without an outcome")

    def _left_off(self, why: str, text: str, words: list[str]) -> str:
        kept = self._conversation.said(text, "".join(words))
        return f"{why} · {'kept as far as it came' if kept else 'not kept in this chat'}"

    def _obey(self, line: str) -> bool:
        """False when the chat is over."""
        command, _, rest = line.partition(" ")
        match command:
            case "/quit" | "/exit":
                return False
            case "/new":
                self._conversation.begin_anew()
                self._screen.told(["a new conversation"])
            case "/system":
                self._screen.told(self._system(rest.strip()))
            case "/receipt":
                self._look(self._receipt)
            case "/trace":
                self._look(self._trace)
            case "/help":
                self._screen.told(f"{name:<16}{what}" for name, what in COMMANDS.items())
            case _:
                self._screen.told([f"{command} is no command: /help lists them; a message that begins with / is //"])
        return True

    def _system(self, text: str) -> list[str]:
        if text:
            self._conversation.system = "" if text == "-" else text
        said = self._conversation.system
        return [f"system message: {said}" if said else "no system message but the firm's own"]

    def _look(self, what: Any) -> None:
        """A look at the last turn; one that fails ends nothing."""
        if not self._request_id:
            self._screen.told(["nothing was asked yet"])
            return
        try:
            self._screen.told(what())
        except CallFailed as failure:
            self._screen.broke_off(describe(failure))
        except KeyboardInterrupt:
            if not self._screen.goes_on:
                raise
            self._screen.broke_off("stopped")

    def _receipt(self) -> list[str]:
        receipt = self._client.receipt(self._request_id)
        self._key = self._key or log_key(self._location)
        lines = [f"request    {self._request_id}", f"state      {receipt.get('state', '')}"]
        keep = f"keep it    strongroom receipt {self._request_id} > FILE"
        if not self._key or self._question is None:
            return [*lines, "verified   not: the log's key is not known here", keep]
        answer = self._answer.as_released() if self._answer else None
        held = verify_receipt(self._question.as_received(), answer, receipt, self._key)
        if not held:
            return [*lines, f"verified   NO: {held.problem}", keep]
        return [
            *lines,
            f"log        {held.origin}{' (DEVELOPMENT)' if held.development else ''}",
            f"entry      {held.index} of {held.size}, {held.kind}",
            f"proves     {', '.join(held.proven)}",
            "verified   offline, with the key audit gave: compare it with one you trust",
            f"key        {self._key.strip()}",
            keep,
        ]

    def _trace(self) -> list[str]:
        with calling(self._location, "monitor", monitor_pb2_grpc.MonitorServiceStub) as call:
            return waterfall(whole_trace(call, self._request_id), shutil.get_terminal_size((100, 24)).columns - 3)


def _opening(location: Location, models: list[Model], asked: str, adapter: str) -> list[str]:
    served = [model for model in models if model.id == asked] or models
    names = ", ".join(f"{model.id} ({model.engine}, {model.context_tokens} tokens)" for model in served)
    with_adapter = f" · adapter {adapter}" if adapter else ""
    return [
        f"Strongroom · {names or 'no model is served yet'}{with_adapter} · {location.address('gateway')}",
        "Guarded and recorded before you see it. /help lists the commands.",
    ]
