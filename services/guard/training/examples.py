"""Turns marked sentences into what the fitting reads: for each candidate its features and the right answer."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from services.guard.redaction.named import chinese_names, tag_scores, western, words
from services.guard.redaction.named.codes import within_code
from services.guard.redaction.named.entity import ADDRESS, LOOK_AHEAD, PERSON, Entity
from services.guard.redaction.named.passage import Passage
from services.guard.training.sentences import Sentence
from services.guard.training.softmax import Floats, Indices

RARE = 2  # a feature seen in fewer sentences than this says nothing

_HAN = re.compile("[\u4e00-\u9fff]")
_TAGS = {
    PERSON: (tag_scores.BEGIN_PERSON, tag_scores.IN_PERSON),
    ADDRESS: (tag_scores.BEGIN_ADDRESS, tag_scores.IN_ADDRESS),
}


class Table:
    """Numbers the features of each of the model's tables; 0 is none."""

    def __init__(self, seen: Counter[tuple[int, str]]) -> None:
        kept = sorted(feature for feature, count in seen.items() if count >= RARE and feature[1])
        self.features = kept
        self._numbers = {feature: number for number, feature in enumerate(kept, start=1)}

    def __len__(self) -> int:
        return len(self.features) + 1

    def row(self, values: Sequence[str]) -> list[int]:
        return [self._numbers.get((table, value), 0) for table, value in enumerate(values)]


def name_groups(lexicon: chinese_names.Lexicon, sentence: Sentence) -> Iterator[tuple[list[list[str]], int]]:
    """For each surname character that may begin a name: the features of each length, and which is right (0: none)."""
    gold = {entity.start: entity.end for entity in sentence.entities if entity.kind == PERSON}
    last_end = -9
    position = 0
    while (match := lexicon.candidate.search(sentence.text, position)) is not None:
        start = match.start()
        candidates = list(chinese_names.features(lexicon, sentence.text, start, match.end() - start, last_end))
        end = gold.get(start)
        if end is None and lexicon.in_word(sentence.text, start):
            position = start + 1
            continue
        right = next((n for n, (length, _) in enumerate(candidates, 1) if end == start + length), 0)
        if candidates and (right or end is None):
            yield [values for _, values in candidates], right
        last_end = end if end is not None else last_end
        position = end if end is not None else start + 1


def name_arrays(groups: Sequence[tuple[list[list[str]], int]]) -> tuple[Table, Indices, Indices, Indices]:
    table = Table(Counter((k, v) for rows, _ in groups for values in rows for k, v in enumerate(values)))
    width = len(groups[0][0][0])
    indices = np.zeros((len(groups), 2, width), dtype=np.int32)
    for number, (rows, _) in enumerate(groups):
        indices[number, : len(rows)] = [table.row(values) for values in rows]
    lengths = np.array([len(rows) for rows, _ in groups], dtype=np.int32)
    return table, indices, lengths, np.array([right for _, right in groups], dtype=np.int32)


def gold_tags(passage: Passage, entities: Iterable[Entity]) -> list[int]:
    """The right tag of each token. A name in Chinese characters is not the tagger's."""
    right = [tag_scores.OUT] * len(passage.words)
    for entity in entities:
        inside = [n for n, (start, _) in enumerate(passage.spans) if entity.start <= start < entity.end]
        if not inside or _HAN.match(passage.words[inside[0]].text):
            continue
        begin, rest = _TAGS[entity.kind]
        right[inside[0]] = begin
        for number in inside[1:]:
            right[number] = rest
    return right


def tag_rows(lexicon: words.Lexicon, sentence: Sentence, look_ahead: int | None) -> Iterator[tuple[list[str], int]]:
    """The features and the right tag of each token that the tagger would look at."""
    passage = Passage(lexicon, sentence.text)
    right = gold_tags(passage, sentence.entities)
    walk = tag_scores.Walk()
    for place, word in enumerate(passage.words):
        after, second = passage.following(place, look_ahead)
        begins = walk.previous != tag_scores.OUT or (
            western.may_begin(walk, word, after, second) and not within_code(sentence.text, passage.spans[place][0])
        )
        if word.shape not in words.ENDS and (begins or right[place] != tag_scores.OUT):
            yield tag_scores.features(walk, word, after, second), right[place]
        walk.step(word, right[place])


def tag_arrays(rows: Sequence[tuple[list[str], int]]) -> tuple[Table, Indices, Indices, Floats]:
    table = Table(Counter((k, v) for values, _ in rows for k, v in enumerate(values)))
    numbered = Counter((*table.row(values), right) for values, right in rows)
    array = np.array(list(numbered), dtype=np.int32)
    return table, array[:, :-1], array[:, -1], np.array(list(numbered.values()), dtype=np.float64)


def both_views(lexicon: words.Lexicon, sentence: Sentence) -> Iterator[tuple[list[str], int]]:
    """As a prompt is seen, whole, and as an answer is, with little look-ahead."""
    yield from tag_rows(lexicon, sentence, None)
    yield from tag_rows(lexicon, sentence, LOOK_AHEAD)
