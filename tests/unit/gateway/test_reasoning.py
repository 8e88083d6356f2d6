"""Reasoning and answer taken apart: by what the text says, never by where it was cut."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.requests.reasoning import Parts, Split

PIECES = ["<think>", "</think>", "<", "/", "th", "ink>", "</", "<th", " ", "\n", "\u3000", "a", "想", "138"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


def apart(pieces):
    split = Split()
    parts = [*(split.feed(piece) for piece in pieces), split.finish()]
    return Parts("".join(part.reasoning for part in parts), "".join(part.content for part in parts)), split


def slowly(text):
    """The whole text at once, by an expression that is read from docs/http.md's sentence."""
    begun = re.match(r"\s*(?:<think>\s*)+", text)
    if not begun:
        return Parts("", text)
    reasoning, _, content = text[begun.end() :].partition("</think>")
    return Parts(reasoning, content.lstrip())


@given(TEXTS, st.data())
def test_every_way_of_cutting_gives_the_same_parts(text, data):
    """Fails if `_inside` keeps one character fewer than could begin the closing mark."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    borders = [0, *cuts, len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(borders)]
    assert apart(pieces)[0] == apart(text)[0] == apart([text])[0] == slowly(text)


@given(TEXTS)
def test_what_is_decided_is_never_taken_back_and_little_is_held(text):
    split, decided, fed = Split(), Parts(), ""
    for character in text:
        fed += character
        part = split.feed(character)
        decided = Parts(decided.reasoning + part.reasoning, decided.content + part.content)
        whole = slowly(fed)
        assert whole.reasoning.startswith(decided.reasoning) and whole.content.startswith(decided.content)
        held = len(whole.reasoning + whole.content) - len(decided.reasoning + decided.content)
        assert held < len("</think>") + len(fed) - len(fed.lstrip())


@pytest.mark.parametrize(
    ("text", "reasoning", "content"),
    [
        ("<think>\na\n</think>\n\nb", "a\n", "b"),
        ("plain", "", "plain"),
        ("  indented", "", "  indented"),
        ("say <think>a</think>", "", "say <think>a</think>"),
        ("a</think>b", "", "a</think>b"),
        ("<think></think>b", "", "b"),
        ("<think>\n<think>\na</think>b", "a", "b"),
        ("<think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
        ("<think>a <think> b</think>c", "a <think> b", "c"),
        ("<thinking>a", "", "<thinking>a"),
        ("<thi", "", "<thi"),
        ("<think>a</thin", "a</thin", ""),
        ("", "", ""),
    ],
)
def test_the_opening_mark_counts_at_the_beginning_and_the_first_closing_mark_ends_it(text, reasoning, content):
    assert apart([text])[0] == Parts(reasoning, content) == apart(text)[0]


@pytest.mark.parametrize(
    ("text", "unfinished"),
    [("<think>", True), ("<think>a", True), ("<think>a</think>", False), ("<think>a</think>b", False), ("a", False)],
)
def test_reasoning_without_its_closing_mark_is_known_as_unfinished(text, unfinished):
    assert apart(text)[1].unfinished is unfinished
