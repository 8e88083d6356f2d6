"""What names a conversation where nobody gives it a name: who leads it, for whom, and how it began."""

from __future__ import annotations

import hashlib
from itertools import takewhile

from chassis.canonical import canonical
from services.gateway.requests.question import Caller, Question


def conversation_of(caller: Caller, question: Question) -> bytes:
    """The same at every turn that comes with the turns before it. Two that began alike share it: each of them still has
    no more put back than its own messages hold."""
    messages = question.messages
    before = [*takewhile(lambda message: message.role != "user", messages)]
    began = messages[: len(before) + 1]
    said = [[message.role, message.content] for message in began]
    return hashlib.sha256(canonical([caller.tenant, caller.name, question.subject, said])).digest()
