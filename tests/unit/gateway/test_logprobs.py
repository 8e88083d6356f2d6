"""A token's log-probability leaves behind its text, and never where the guard changed something."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.requests.channel import CONTENT, Channel
from services.gateway.requests.logprobs import Logprobs
from services.gateway.requests.outcome import TokenLogprob
from services.gateway.requests.restoring import Restoring


def tokens_of(text: str, sizes: list[int]) -> list[TokenLogprob]:
    """The text cut into tokens of these sizes, over and over."""
    told, at = [], 0
    while at < len(text):
        size = sizes[len(told) % len(sizes)]
        piece = text[at : at + size]
        at += len(piece)
        told.append(TokenLogprob(piece.encode(), -0.5, ((b"other", -1.0),), at))
    return told


def run(opening: str, content: str, released: str, sizes: list[int], cuts: list[int]) -> list[TokenLogprob]:
    """Feeds all, then lets `released` out in pieces of these sizes."""
    logprobs, channel = Logprobs(), Channel(CONTENT, Restoring({}), waiting=content)
    logprobs.note(opening + content, tuple(tokens_of(opening + content, sizes)))
    channel.take()
    out: list[TokenLogprob] = []
    at = 0
    while at < len(released):
        channel.cleared = released[at : at + cuts[len(out) % len(cuts)]]
        at += len(channel.cleared)
        channel.release()
        out += logprobs.take(channel)
    return out


def said(told: list[TokenLogprob]) -> str:
    return b"".join(one.token for one in told).decode()


TEXTS = st.text("abc 中\n", min_size=1, max_size=30)
SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@settings(max_examples=200)
@given(content=TEXTS, sizes=SIZES, cuts=SIZES, opening=st.sampled_from(["", "<think>so it is</think>\n\n"]))
def test_of_an_unchanged_answer_every_token_is_told_however_it_is_cut(
    content: str, sizes: list[int], cuts: list[int], opening: str
) -> None:
    told = run(opening, content, content, sizes, cuts)
    whole = said(told)
    # A token that begins in what stands before the content is not content's.
    assert content.endswith(whole) and len(content) - len(whole) < 4
    assert opening or whole == content


@settings(max_examples=300)
@given(
    before=TEXTS, secret=st.text("0123456789", min_size=4, max_size=12), after=TEXTS, sizes=SIZES, cuts=SIZES,
    mask=st.sampled_from(["[REDACTED]", "***", ""]),
)  # fmt: skip
def test_invariant_3_nothing_is_told_of_what_was_masked_nor_behind_it(
    before: str, secret: str, after: str, sizes: list[int], cuts: list[int], mask: str
) -> None:
    """Fails if `take` goes by how much was released and not by whether that is what was generated."""
    told = run("", before + secret + after, before + mask + after, sizes, cuts)
    assert (before + secret).startswith(said(told))
    assert not any(digit in said(told) for digit in "0123456789")


def test_nothing_is_told_of_text_that_waits() -> None:
    """Fails if `take` tells what was generated and not yet released."""
    assert said(run("", "one two three", "one tw", [4], [3])) == "one "


def test_a_part_of_the_mask_that_looks_like_what_it_hides_tells_nothing_more_than_the_mask() -> None:
    assert said(run("", "tel 13800001234 ok", "tel 138****1234 ok", [1], [5])) == "tel 138"
