"""Asks a stack in containers through its published ports, and keeps every id that was answered."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
from strongroom.client import OFF, Answer, CallFailed, Client, Piece, Question, Started, verify_receipt

QUESTION = Question.of("Write a long story about a lighthouse keeper.", temperature=0.7, seed=11, max_tokens=96)
SHORT = Question.of("What is an audit?", temperature=0, max_tokens=16)
KILLED_AFTER = 6  # pieces: in the middle of the answer
ANSWER_SECONDS = 240


@dataclass
class Caller:
    """Whoever asks. `answered` and `begun` are request ids."""

    address: str
    http: str
    key: str
    log_key: str = ""
    answered: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)

    def client(self) -> Client:
        return Client(address=self.address, api_key=self.key, retry=OFF, timeout_seconds=ANSWER_SECONDS)

    def ask(self, question: Question = SHORT) -> Answer:
        with self.client() as client:
            answer = client.ask(question)
        return self._kept(question, answer)

    def stream(self, question: Question = QUESTION, meanwhile: Callable[[], None] | None = None) -> Answer:
        """`meanwhile` is called once, when some pieces have come. Raises what the call fails with, and ValueError when
        the pieces are not what the whole answer says."""
        pieces: list[str] = []
        with self.client() as client:
            for event in client.stream(question):
                if isinstance(event, Started):
                    self.begun.append(event.request_id)
                elif isinstance(event, Piece):
                    pieces.append(event.text)
                    if meanwhile and len(pieces) == KILLED_AFTER:
                        meanwhile()
                else:
                    answer = event
        if "".join(pieces) != answer.text:
            raise ValueError("the pieces are not the answer")
        return self._kept(question, answer)

    def over_http(self) -> str:
        """The text of a streamed answer, as an OpenAI client reads it."""
        body = {"messages": [{"role": "user", "content": "What is an audit?"}], "max_tokens": 16, "stream": True}
        texts: list[str] = []
        headers = {"authorization": f"Bearer {self.key}"}
        url = f"http://{self.http}/v1/chat/completions"
        with httpx.stream("POST", url, json=body, headers=headers, timeout=60, trust_env=False) as reply:
            reply.raise_for_status()
            for line in reply.iter_lines():
                if not line.startswith("data: {"):
                    continue
                chunk = json.loads(line.removeprefix("data: "))
                if "error" in chunk:
                    raise ValueError(str(chunk))
                for choice in chunk["choices"]:
                    texts.append(choice["delta"].get("content") or "")
                request_id = chunk["id"]
        self.answered.append(request_id.removeprefix("chatcmpl-"))
        return "".join(texts)

    def first(self, seconds: float) -> Answer:
        """As soon as there is one."""
        until = time.monotonic() + seconds
        while True:
            try:
                return self.ask()
            except CallFailed:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def workers(self) -> int:
        try:
            with self.client() as client:
                return sum(model.workers for model in client.models())
        except CallFailed:
            return 0

    def _kept(self, question: Question, answer: Answer) -> Answer:
        self.answered.append(answer.request_id)
        if self.log_key:
            checked = verify_receipt(question.as_received(), answer.as_released(), answer.receipt, self.log_key)
            if not checked.ok:
                raise ValueError(f"the receipt of {answer.request_id} proves nothing: {checked.problem}")
        return answer
