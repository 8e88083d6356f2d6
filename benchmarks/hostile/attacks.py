"""What hostile callers send: Hypothesis strategies from odd values in well-formed requests to no HTTP at all."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

CANARY = "canary4111111111111111"  # stands in prompts and odd places; no error may say it back
PATH = b"/v1/chat/completions"
OK: dict[str, Any] = {"messages": [{"role": "user", "content": CANARY}], "max_tokens": 4}


@dataclass(frozen=True)
class Attack:
    """What one caller does on one connection. `whole`: a well-formed request, which has to be answered."""

    kind: str
    pieces: tuple[bytes, ...]
    whole: bool = False
    leaves: bool = False  # without a look at the answer


# Values

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**62, max_value=2**80),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["\ud800", "user", "system", "text", "", "\x00", CANARY, "\u2028", "echo", "now"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
ROLES = st.sampled_from(["user", "system", "assistant", "developer", "tool"]) | VALUES
PARTS = st.lists(st.fixed_dictionaries({"type": st.just("text") | VALUES, "text": VALUES}), max_size=3)
MESSAGES = st.lists(st.fixed_dictionaries({"role": ROLES, "content": PARTS | VALUES}), max_size=4)
OURS = st.fixed_dictionaries({}, optional=dict.fromkeys(["priority", "top_k", "timeout_seconds", "other"], VALUES))
FIELDS = [
    "model", "stream", "stream_options", "stop", "seed", "temperature", "top_p", "max_tokens", "user", "n", "logprobs",
    "max_completion_tokens", "top_logprobs", "tools", "response_format", "audio", "strongroom", "messages", CANARY,
]  # fmt: skip
BODIES = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(FIELDS, VALUES) | {"messages": MESSAGES | VALUES, "strongroom": OURS | VALUES}
)
ONE_ODD = st.sampled_from(FIELDS).flatmap(lambda name: VALUES.map(lambda value: {**OK, name: value}))
STREAMED = st.just({**OK, "stream": True, "stream_options": {"include_usage": True}})


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()  # with \uD800 and NaN, which no strict writer would write


JSON_BODIES = st.sampled_from([BODIES, ONE_ODD, ONE_ODD, STREAMED, VALUES]).flatmap(lambda values: values).map(as_json)
DEPTHS = st.sampled_from([10, 900, 1_100, 20_000, 200_000])
NESTED = st.tuples(st.sampled_from([b"[", b'{"a":', b'{"messages":[', b'"']), DEPTHS).map(lambda one: one[0] * one[1])
NUMBERS = st.tuples(st.sampled_from([b"9", b"0", b"1e", b"-"]), DEPTHS).map(
    lambda one: b'{"seed": ' + one[0] * one[1] + b"}"
)
LONG = st.sampled_from([1_000, 300_000, 1_048_000, 1_100_000]).map(
    lambda size: as_json({"messages": [{"role": "user", "content": "x" * size}]})
)
CONSTANTS = st.sampled_from(
    [b"", b"\xff\xfe", b"\xef\xbb\xbf{}", b"NaN", b"{}{}", b'{"a":1,"a":2}', b'{"temperature":1e999}', b"\x00" * 9]
)


@st.composite
def mutated(draw: st.DrawFn, texts: st.SearchStrategy[bytes]) -> bytes:
    """A few bytes of it changed, put in, taken out, or the rest cut off."""
    text = bytearray(draw(texts))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(text) - 1, 0)))
        match draw(st.sampled_from(["change", "insert", "remove", "cut"])):
            case "change" if text:
                text[place] = draw(st.integers(0, 255))
            case "insert":
                text[place:place] = draw(st.binary(min_size=1, max_size=4))
            case "remove":
                del text[place : place + draw(st.integers(1, 4))]
            case "cut":
                del text[place:]
    return bytes(text)


ALL_BODIES = st.sampled_from(
    [JSON_BODIES, JSON_BODIES, JSON_BODIES, mutated(JSON_BODIES), NESTED, NUMBERS, LONG, CONSTANTS, st.binary()]
).flatmap(lambda bodies: bodies)


# Requests


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def request(key: str, body: bytes, *fields: bytes, line: bytes = b"POST " + PATH, size: int = 0) -> bytes:
    """`size`: of the chunks; 0 sends the length ahead."""
    framing = b"transfer-encoding: chunked" if size else b"content-length: %d" % len(body)
    head = (line + b" HTTP/1.1", b"host: x", b"authorization: Bearer " + key.encode(), framing, *fields, b"", b"")
    return b"\r\n".join(head) + (chunked(body, size) if size else body)


CLOSE = b"connection: close"
SIZES = st.sampled_from([0, 0, 0, 7, 1_000, 70_000])
TOKENS = st.text("abcXYZ-_09", min_size=1, max_size=12).map(str.encode)
FIELD_VALUES = st.one_of(
    st.binary(max_size=40).map(lambda value: value.replace(b"\r", b"").replace(b"\n", b"").replace(b"\x00", b"")),
    st.sampled_from(
        [CANARY.encode(), "手机".encode(), b"x" * 3_000, b"00-" + b"f" * 32 + b"-" + b"0" * 16 + b"-01", b""]
    ),
)
NAMES = TOKENS | st.sampled_from(
    [b"traceparent", b"idempotency-key", b"content-type", b"accept-encoding", b"cookie", b"origin", b"expect",
     b"connection", b"upgrade", b"content-length", b"transfer-encoding", b"authorization", b"host", b"te"]
)  # fmt: skip
ODD_FIELDS = st.lists(st.tuples(NAMES, FIELD_VALUES).map(b": ".join), max_size=5)
BOMBS = st.sampled_from(
    [
        [b"x: " + b"y" * 200_000],
        [b"x%d: y" % n for n in range(9_000)],
        [b"x: y"] * 4_000,
        [b"cookie: " + b"a=b; " * 5_000],
    ]
)
METHODS = st.sampled_from(
    [b"GET", b"PUT", b"DELETE", b"OPTIONS", b"HEAD", b"TRACE", b"PATCH", b"CONNECT", b"get", b"\xe4"]
)
PATHS = st.one_of(
    st.sampled_from(
        [PATH, b"/v1/models", b"/v1/models/echo", b"/v1/models/..%2f..", b"/healthz", b"/readyz", b"/metrics", b"/",
         b"//v1/chat/completions", b"/v1/chat/completions/", b"/v1/", b"/v1", b"/" + b"a" * 20_000, b"http://x/v1/models",
         b"/v1/models/" + CANARY.encode(), b"/%ff%fe", b"/v1/models/%00", b"/v1/models?limit=9e99", b"*"]
    ),
    st.text(max_size=20).map(lambda path: b"/" + path.encode("utf-8", "replace").replace(b" ", b"%20")),
)  # fmt: skip


def cut(text: bytes, places: list[int]) -> tuple[bytes, ...]:
    borders = [0, *sorted({place % (len(text) + 1) for place in places}), len(text)]
    return tuple(text[start:end] for start, end in itertools.pairwise(borders))


CUTS = st.lists(st.integers(0, 2**20), max_size=5)


def attacks(key: str) -> st.SearchStrategy[Attack]:
    """Callers with this API key, mostly."""
    whole = st.builds(
        lambda body, size, cuts: Attack("body", cut(request(key, body, CLOSE, size=size), cuts), whole=True),
        *(ALL_BODIES, SIZES, CUTS),
    )
    stranger = ALL_BODIES.map(lambda body: Attack("stranger", (request("wrong", body, CLOSE),), whole=True))
    honest = request(key, as_json(OK))
    odd_head = st.builds(
        lambda fields, body: Attack("fields", (request(key, body, *fields, CLOSE),)), ODD_FIELDS | BOMBS, JSON_BODIES
    )
    odd_line = st.builds(
        lambda method, path: Attack("line", (request(key, b"", CLOSE, line=method + b" " + path),)),
        *(METHODS | st.just(b"POST"), PATHS),
    )
    lying = st.builds(
        lambda body, length: Attack("lying", (b"POST %s HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\n"
                                              b"content-length: %s\r\n\r\n%s" % (PATH, key.encode(), length, body),)),
        *(JSON_BODIES, st.sampled_from([b"0", b"1", b"99999999", b"9" * 30, b"-1", b"0x10", b"1e3", b"", b"1, 1"])),
    )  # fmt: skip
    spoilt = st.builds(
        lambda text, cuts: Attack("spoilt", cut(text, cuts)),
        *(mutated(st.builds(request, st.just(key), JSON_BODIES, size=SIZES)), CUTS),
    )
    piled = st.integers(2, 3_000).map(lambda count: Attack("piled", (honest * count,)))
    nonsense = st.binary(max_size=400).map(lambda text: Attack("nonsense", (text,)))
    leaving = st.builds(
        lambda end, stream: Attack("leaving", (request(key, as_json({**OK, "stream": stream}))[:end],), leaves=True),
        *(st.integers(0, 400), st.booleans()),
    )
    kinds = [whole, whole, whole, stranger, odd_head, odd_line, lying, spoilt, spoilt, piled, nonsense, leaving]
    return st.sampled_from(kinds).flatmap(lambda kind: kind)  # each as often, however many forms it has itself
