"""What tests ask of the HTTP edge, and how they read its streams."""

from __future__ import annotations


def question(text="hello", **more):
    return {"model": "tiny", "messages": [{"role": "user", "content": text}], **more}


async def ask(http, body=None, **more):
    return await http.post("/v1/chat/completions", json=question() if body is None else body, **more)


def events(text):
    """The data of each event; comments by themselves."""
    return [part.removeprefix("data: ") for part in text.split("\n\n") if part]
