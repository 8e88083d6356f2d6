"""Texts as the words that the index holds: Chinese as pairs of characters, everything else as words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# Scripts that put no space between words. Of a run ABC the index holds AB, BC and C, one behind the other: so every
# character begins a word, and a run of any length is a phrase.
_UNSPACED = "㐀-䶿一-鿿豈-﫿々〇぀-ヿ가-힣\U00020000-\U000323af"
_RUN = re.compile(f"([{_UNSPACED}]+)|([^\\W_{_UNSPACED}]+)")
_ASCII_WORD = re.compile("[0-9a-z]+")
_PIECE = re.compile(r'"([^"]*)"|(\S+)')

LONGEST_WORD = 64  # characters; a longer one is found by its beginning
BETWEEN = "§"  # stands between two texts, so that no phrase reaches from one into the other; in no query


class QueryInvalid(Exception):
    """What is asked for cannot be looked for. The text says why and quotes nothing."""


def words_of(texts: Iterable[str]) -> str:
    """One line, words parted by spaces: what the tokenizer of the index is given."""
    return f" {BETWEEN} ".join([" ".join(_words(text)) for text in texts])


def _words(text: str) -> list[str]:
    plain = folded(text)
    if plain.isascii():
        return [word[:LONGEST_WORD] for word in _ASCII_WORD.findall(plain)]
    words: list[str] = []
    for unspaced, word in _RUN.findall(plain):
        if unspaced:
            words += [unspaced[at : at + 2] for at in range(len(unspaced))]
        else:
            words.append(word[:LONGEST_WORD])
    return words


def folded(text: str) -> str:
    """Full-width forms, ligatures and letter case do not matter."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def expression(query: str, most_pieces: int = 16) -> str:
    """An FTS5 expression for what a person types: all pieces have to be there, in any order; what stands in quotes,
    and Chinese without spaces, is one piece, its words in this order. A * behind a piece leaves its last word open."""
    pieces = [quoted or plain for quoted, plain in _PIECE.findall(query)]
    phrases = [phrase for piece in pieces if (phrase := _phrase(piece))]
    if not phrases:
        raise QueryInvalid("there is no letter or digit in it")
    if len(phrases) > most_pieces:
        raise QueryInvalid(f"it has {len(phrases)} pieces: at most {most_pieces}")
    return " AND ".join(phrases)


def _phrase(piece: str) -> str:
    runs = list(_RUN.finditer(folded(piece)))
    words: list[str] = []
    for number, match in enumerate(runs, 1):
        run, last = match.group(), number == len(runs)
        if match.group(2):
            words.append(run[:LONGEST_WORD])
        elif last and len(run) > 1:  # whether the run goes on behind it does not matter
            words += [run[at : at + 2] for at in range(len(run) - 1)]
        else:
            words += [run[at : at + 2] for at in range(len(run))]
    if not words:
        return ""
    open_ended = piece.rstrip('"').endswith("*") or (len(words[-1]) == 1 and bool(runs[-1].group(1)))
    return f'"{" ".join(words)}"' + (" *" if open_ended else "")
