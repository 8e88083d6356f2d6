"""The shipped policy, and ways to feed a text in pieces."""

from collections.abc import Callable, Iterable, Mapping

import pytest

from services.guard.policy.bundle import PolicyBundle
from services.guard.policy.loading import load_bundle, parse_bundle
from services.guard.policy.output_filter import Filtered, OutputFilter
from services.guard.redaction.masking import Masking
from services.guard.settings import SHIPPED_POLICY

Feed = Callable[[PolicyBundle, str, Iterable[int]], Filtered]
Edited = Callable[..., PolicyBundle]


@pytest.fixture(scope="session")
def bundle() -> PolicyBundle:
    return load_bundle(SHIPPED_POLICY)


@pytest.fixture(scope="session")
def maskings(bundle: PolicyBundle) -> Mapping[str, Masking]:
    return bundle.maskings


@pytest.fixture(scope="session")
def edited() -> Edited:
    """The shipped policy with words of its file replaced."""

    def edit(*replaced: tuple[str, str]) -> PolicyBundle:
        document = SHIPPED_POLICY.read_text()
        for old, new in replaced:
            assert old in document
            document = document.replace(old, new)
        return parse_bundle(document.encode(), "edited.yaml")

    return edit


@pytest.fixture(scope="session")
def feed() -> Feed:
    """Feeds a text cut at the given places, and adds up what came out."""

    def run(bundle: PolicyBundle, text: str, cuts: Iterable[int] = ()) -> Filtered:
        output_filter, start, parts = OutputFilter(bundle), 0, []
        for end in (*cuts, len(text)):
            parts.append(output_filter.feed(text[start:end]))
            start = end
        parts.append(output_filter.finish())
        return Filtered(
            "".join(part.released for part in parts),
            tuple(finding for part in parts for finding in part.findings),
            parts[-1].withheld,
            tuple(rule for part in parts for rule in part.flagged),
        )

    return run


@pytest.fixture(scope="session")
def size_of() -> Callable[[OutputFilter], int]:
    """How many characters a filter keeps in memory."""

    def size(output_filter: OutputFilter) -> int:
        redactor, topics = output_filter._redactor, output_filter._topics
        return redactor.size + len(topics._text) + output_filter._leaks.size

    return size
