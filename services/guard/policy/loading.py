"""Loads a policy bundle, or says everything that is wrong with it. There is no half-loaded bundle."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import yaml

from services.guard.policy.bundle import PolicyBundle
from services.guard.policy.document import Problems, Section, UniqueKeyLoader
from services.guard.policy.folding import GAP, fold_word, spaced_script, squeeze
from services.guard.policy.leakage import PromptIndex, index_prompt, letters_of
from services.guard.policy.own_recognizers import own_recognizers
from services.guard.policy.scan import TopicScan
from services.guard.policy.terms import index_terms
from services.guard.policy.topics import Action, Combination, Direction, Topic, WordList
from services.guard.redaction.classes import BY_NAME
from services.guard.redaction.masking import MODES, Masking

FORMAT = 1
MOST_BYTES = 1_000_000
LANGUAGES = ("zh", "en")
LEVELS = ("C1", "C2", "C3")
LONGEST_WORD = 40  # folded characters; with WIDEST it bounds what the output filter holds back
WIDEST = 40
LONGEST_LABEL = 40

Vocabulary = Mapping[str, tuple[str, ...]]


class InvalidPolicy(Exception):
    """Names the file, and every key in it that is wrong, at once."""

    def __init__(self, path: str, problems: list[str]) -> None:
        super().__init__("\n".join(f"{path}: {problem}" for problem in problems))
        self.problems = tuple(problems)


def load_bundle(path: Path) -> PolicyBundle:
    """Raises InvalidPolicy."""
    try:
        document = path.read_bytes()
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise InvalidPolicy(str(path), [f"the file: {reason}; name a policy file that this service may read"]) from None
    return parse_bundle(document, str(path))


def parse_bundle(document: bytes, origin: str) -> PolicyBundle:
    """`origin` names the document in errors."""
    if len(document) > MOST_BYTES:
        raise InvalidPolicy(origin, [f"the file: has {len(document)} bytes; keep it within {MOST_BYTES}"])
    try:
        tree = yaml.load(document.decode(), UniqueKeyLoader)
    except UnicodeDecodeError as error:
        raise InvalidPolicy(origin, [f"the file: byte {error.start} is not UTF-8; save it as UTF-8"]) from None
    except yaml.YAMLError as error:
        raise InvalidPolicy(origin, [f"the file: is not YAML: {_where(error)}; correct it there"]) from None
    return _bundle(tree, document, origin)


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}: " if mark else ""
    return f"{place}{getattr(error, 'problem', None) or 'it does not parse'}"


def _bundle(tree: object, document: bytes, origin: str) -> PolicyBundle:
    problems = Problems()
    root = Section(tree, "", problems)
    if root.number("format", 1, 1000) != FORMAT:
        root.problem("format", "is a format that this version does not know", f"write {FORMAT}")
    name, version = root.text("name"), root.text("version")
    system_prompt, caller_instructions, prompt_index = _system_prompt(root.section("system_prompt"))
    refusal = root.section("refusal_texts")
    refusal_texts = {language: refusal.text(language) for language in LANGUAGES}
    refusal.done()
    maskings = _maskings(root.section("redaction"))
    table = own_recognizers(root.sections("recognizers"), maskings, LEVELS)
    vocabulary = _vocabulary(root.section("vocabulary"))
    topics = tuple(_topic(section, vocabulary) for section in root.sections("topics"))
    _need_topics(root, topics)
    root.done()
    if problems.lines:
        raise InvalidPolicy(origin, problems.lines)
    bundle = PolicyBundle(
        name=name,
        version=version,
        digest=hashlib.sha256(document).digest(),
        document=document,
        system_prompt=system_prompt,
        caller_instructions=caller_instructions,
        refusal_texts=refusal_texts,
        maskings=maskings,
        table=table,
        topics=topics,
        prompt_terms=index_terms(topics, Direction.PROMPT),
        answer_terms=index_terms(topics, Direction.ANSWER),
        prompt_index=prompt_index,
    )
    if unfindable := _unfindable(bundle):
        raise InvalidPolicy(origin, unfindable)
    return bundle


def _system_prompt(section: Section) -> tuple[str, str, PromptIndex]:
    """Its text, the words before a caller's own, and what of both no answer may repeat."""
    texts = section.text("text"), section.text("before_caller_instructions")
    action = Action(section.choice("repeated", [action.value for action in (Action.FLAG, Action.REFUSE)], "refuse"))
    may_repeat = section.texts("may_repeat", required=False)
    for number, allowed in enumerate(may_repeat):
        if not any(letters_of(allowed) in letters_of(text) for text in texts):
            section.problem(f"may_repeat[{number}]", "is no part of the prompt", "write a passage as it stands there")
        elif not letters_of(allowed):
            section.problem(f"may_repeat[{number}]", "has no letter", "write a passage of the prompt")
    section.done()
    return (*texts, index_prompt(texts, may_repeat, only_flags=action is Action.FLAG))


def _unfindable(bundle: PolicyBundle) -> list[str]:
    """A known-bad text for every list, at every load: a check that can never fire must not look like one."""
    return [
        f"topics: the word {word!r} of {source.rule} would never be found; write it as it stands in a text"
        for topic in bundle.topics
        for source in topic.lists
        for word in source.words
        if not _finds(bundle, source, word.rstrip("*"))
    ]


def _finds(bundle: PolicyBundle, source: WordList, word: str) -> bool:
    index = bundle.prompt_terms if source.direction.covers(Direction.PROMPT) else bundle.answer_terms
    scan = TopicScan(index)
    hits = scan.feed(word) + scan.finish() if index.possible(squeeze(word)) else []
    return any(hit.rule.source.rule == source.rule for hit in hits)


def _need_topics(root: Section, topics: tuple[Topic, ...]) -> None:
    if not root.has("topics"):
        root.problem("topics", "is missing", "write at least one topic")
    names = [topic.name for topic in topics]
    for name in {name for name in names if names.count(name) > 1}:
        root.problem("topics", f"{name!r} is there twice", "give each topic a name of its own")


def _maskings(section: Section) -> dict[str, Masking]:
    """Every class is masked, also one that the file does not name: then by its own label and level."""
    maskings = {}
    for entity, known in BY_NAME.items():
        if not section.has(entity):
            maskings[entity] = Masking(entity, MODES[0], known.label, known.level)
            continue
        one = section.section(entity)
        mode = one.choice("mode", MODES)
        label, level = one.text("label"), one.choice("level", LEVELS)
        if len(label) > LONGEST_LABEL or any(character.isdigit() or character == "@" for character in label):
            one.problem("label", f"is {label!r}", f"write at most {LONGEST_LABEL} characters without digits or @")
        maskings[entity] = Masking(entity, mode, label, level)
        one.done()
    section.done()
    return maskings


def _vocabulary(section: Section) -> dict[str, tuple[str, ...]]:
    vocabulary = {key: section.texts(key) for key in section.names()}
    for key, words in vocabulary.items():
        _check_words(section, key, words)
    return vocabulary


def _check_words(section: Section, key: str, words: tuple[str, ...]) -> None:
    for number, word in enumerate(words):
        folded = fold_word(word.rstrip("*"))
        if not folded.replace(GAP, ""):
            section.problem(f"{key}[{number}]", f"{word!r} has no letter", "write a word")
        elif len(folded) > LONGEST_WORD:
            section.problem(f"{key}[{number}]", f"{word!r} is too long", f"keep it within {LONGEST_WORD} characters")
        elif "*" in word.rstrip("*") or (word.endswith("*") and not spaced_script(folded[-1])):
            section.problem(f"{key}[{number}]", f"{word!r} has a misplaced *", "only end a word of letters with one *")


def _topic(section: Section, vocabulary: Vocabulary) -> Topic:
    name, action = section.text("name"), Action(section.choice("action", [action.value for action in Action]))
    direction = Direction(section.choice("direction", [direction.value for direction in Direction]))
    threshold = section.number("threshold", 0.01, 1)
    lists = tuple(_word_list(one, name, direction) for one in section.sections("lists"))
    combinations = tuple(_combination(one, name, direction, vocabulary) for one in section.sections("rules"))
    if not lists and not combinations:
        section.problem("lists", "this topic has neither lists nor rules", "write one, or remove the topic")
    sources: tuple[WordList | Combination, ...] = (*lists, *combinations)
    rules = [source.rule for source in sources]
    for rule in {rule for rule in rules if rules.count(rule) > 1}:
        section.problem("rules", f"{rule!r} is there twice", "give each list and rule a name of its own")
    if rules and max(source.score for source in sources) < threshold:
        section.problem("threshold", "no list or rule scores that high", "lower it, or raise a score")
    section.done()
    return Topic(name, action, direction, threshold, lists, combinations)


def _direction(section: Section, topic: Direction) -> Direction:
    """A rule's own direction narrows its topic's."""
    own = Direction(section.choice("direction", [d.value for d in Direction], topic.value))
    if own is not topic and topic is not Direction.BOTH:
        section.problem("direction", f"the topic covers only {topic.value}", "leave it out, or widen the topic")
    return own


def _word_list(section: Section, topic: str, direction: Direction) -> WordList:
    words = section.texts("words")
    _check_words(section, "words", words)
    made = WordList(
        rule=f"{topic}/{section.text('name')}",
        words=words,
        score=section.number("score", 0.01, 1),
        direction=_direction(section, direction),
    )
    section.done()
    return made


def _combination(section: Section, topic: str, direction: Direction, vocabulary: Vocabulary) -> Combination:
    groups = tuple(_named(section, "all", name, vocabulary) for name in section.texts("all"))
    if not 2 <= len(groups) <= 3:
        section.problem("all", f"has {len(groups)} groups", "name two or three; for one, write a list")
    unless = tuple(
        w for name in section.texts("unless", required=False) for w in _named(section, "unless", name, vocabulary)
    )
    made = Combination(
        rule=f"{topic}/{section.text('name')}",
        groups=groups,
        unless=unless,
        within=int(section.number("within", 0, WIDEST)),
        ordered=section.switch("ordered"),
        score=section.number("score", 0.01, 1),
        direction=_direction(section, direction),
    )
    section.done()
    return made


def _named(section: Section, key: str, name: str, vocabulary: Vocabulary) -> tuple[str, ...]:
    """`a+b` is the words of both."""
    words: list[str] = []
    for part in name.split("+"):
        if part not in vocabulary:
            section.problem(key, f"{part!r} is not in vocabulary", "name a word group that is")
        words += vocabulary.get(part, ())
    return tuple(words)
