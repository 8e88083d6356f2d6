"""Runs the atomic scripts: one round trip each, by digest, loaded again when a restarted Redis forgot them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any

from redis.exceptions import NoScriptError

from streams import keys
from streams.connection import Connection

Argument = str | bytes | int
Call = tuple[Sequence[str], Sequence[Argument]]  # key names and arguments

_NAMES = {name: value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str)} | {
    "FRAME_FIELD": keys.FRAME_FIELD.decode()
}


def _text(name: str, names: Mapping[str, str]) -> str:
    return Template(files("streams").joinpath("lua", f"{name}.lua").read_text()).substitute(names)


_SHARED = {"DELIVERED": _text("delivered", _NAMES)}  # functions that several scripts call


class Script:
    """One Lua script of `streams/lua`, with the names of `keys` and the shared functions filled in."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = _text(name, _NAMES | _SHARED)
        self._digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, redis: Connection, key_names: Sequence[str], arguments: Sequence[Argument]) -> Any:
        call = (len(key_names), *key_names, *arguments)
        try:
            return await redis.execute_command("EVALSHA", self._digest, *call)
        except NoScriptError:
            return await redis.execute_command("EVAL", self.text, *call)

    async def run_each(self, redis: Connection, calls: Sequence[Call]) -> list[Any]:
        """Many calls, one round trip. Each is atomic, all together are not."""
        pipe = redis.pipeline(transaction=False)
        for key_names, arguments in calls:
            pipe.execute_command("EVALSHA", self._digest, len(key_names), *key_names, *arguments)
        answers = await pipe.execute(raise_on_error=False)
        for i, answer in enumerate(answers):
            if isinstance(answer, NoScriptError):
                answers[i] = await self.run(redis, *calls[i])
            elif isinstance(answer, Exception):
                raise answer
        return list(answers)


submit = Script("submit")
claim = Script("claim")
publish = Script("publish")
renew = Script("renew")
hand_back = Script("hand_back")
overdue = Script("overdue")
look = Script("look")
heads = Script("heads")
