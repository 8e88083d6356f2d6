"""Live wrapping, seen on a small terminal of our own."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strongroom.cli.flow import Flow
from strongroom.cli.terminal import columns, visible

WORDS = st.text(st.sampled_from("ab,. \n\t金库。，(é\u0301"), max_size=60)


def on_a_terminal(written: str) -> list[str]:
    """The lines of a terminal that is wide enough, which takes characters, new lines, backspaces and erasing."""
    lines: list[list[tuple[str, int]]] = [[]]
    back = 0  # columns that the cursor stands before the end of its line
    rest = written
    while rest:
        if rest.startswith("\x1b[K"):
            rest = rest[3:]
            while back > 0:
                back -= lines[-1].pop()[1]
            assert back == 0, "half a character was erased"
            continue
        character, rest = rest[0], rest[1:]
        if character == "\b":
            back += 1
        elif character == "\n":
            lines.append([])
        else:
            assert back == 0, "something was written over"
            lines[-1].append((character, columns(character)))
    return ["".join(character for character, _ in line) for line in lines]


def flowed(pieces: list[str], width: int, indent: str = "", takes_back: bool = True) -> list[str]:
    written: list[str] = []
    flow = Flow(written.append, width, indent, takes_back)
    for piece in pieces:
        flow.feed(piece)
    return on_a_terminal("".join(written))


@given(text=WORDS, width=st.integers(8, 20), cuts=st.lists(st.integers(0, 60), max_size=6))
@example(text="a (ab)", width=8, cuts=[1, 2, 3, 4, 5])
def test_however_the_text_is_cut_the_screen_is_the_same(text: str, width: int, cuts: list[int]) -> None:
    borders = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(borders)]
    assert flowed(pieces, width, "  ") == flowed([text], width, "  ")


@given(text=WORDS, width=st.integers(8, 20), takes_back=st.booleans())
def test_no_line_is_too_wide_and_no_character_is_lost(text: str, width: int, takes_back: bool) -> None:
    lines = flowed(list(text), width, "  ", takes_back)
    assert max(sum(map(columns, line)) for line in lines) <= width
    assert "".join("".join(lines).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one two three", ["one two", "three"]),
        ("one two, three", ["one two,", "three"]),
        ("abcdefghijklmnop", ["abcdefgh", "ijklmnop"]),
        ("  x = 1", ["  x = 1"]),
        ("金库已经关了。", ["金库已经", "关了。"]),
        ("金库已经。关了", ["金库已经。", "关了"]),
    ],
)
def test_words_stay_whole_where_a_line_can_hold_them(text: str, lines: list[str]) -> None:
    assert [line.rstrip() for line in flowed(list(text), 10)] == lines


def test_a_text_cannot_command_the_terminal() -> None:
    assert visible("a\x1b[2Jb\x07\x9b1m\u202ec\td\n") == "a␛[2Jb␇\ufffd1m\ufffdc\td\n"
    assert on_a_terminal("".join(_written("\x1b[K\b"))) == ["␛[K␈"]


def _written(text: str) -> list[str]:
    written: list[str] = []
    Flow(written.append, 40).feed(text)
    return written
