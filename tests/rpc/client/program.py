"""What a project outside the tree writes: it knows one installed package and nothing else of this repository."""

import asyncio
import sys

from strongroom.client import Answer, AsyncClient, Client, Message, NotFound, Piece, Question, Started, verify_receipt


def streamed(address: str, key: str) -> str:
    words: list[str] = []
    with Client(address=address, api_key=key, timeout_seconds=20) as client:
        for event in client.stream(Question.of("Why?", temperature=0)):
            if isinstance(event, Started):
                print(event.request_id)
            elif isinstance(event, Piece):
                words.append(event.text)
        try:
            client.receipt("r-2")
        except NotFound as failure:
            print(failure.reason, failure.field)
    return "".join(words)


async def asked(address: str, key: str) -> Answer:
    question = Question(messages=(Message("user", "Why?"),), priority="interactive")
    async with AsyncClient(address=address, api_key=key) as client:
        models = await client.models()
        print(", ".join(f"{model.id} ({model.context_tokens})" for model in models))
        answer = await client.ask(question)
    print(bool(verify_receipt(question.as_received(), answer.as_released(), answer.receipt, "no key")))
    return answer


if __name__ == "__main__":
    print(streamed(sys.argv[1], sys.argv[2]))
    print(asyncio.run(asked(sys.argv[1], sys.argv[2])).finish_reason)
