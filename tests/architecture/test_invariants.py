"""Every invariant that this version claims has a test named after its number, which says how it would fail."""

import ast
import re

import pytest

CLAIMED = (1, 2, 3, 4, 7, 8, 11)
NAMED = re.compile(r"test_invariant_(\d+)_")


def invariant_tests(trees):
    return [
        (int(found.group(1)), f"{name}:{node.name}", ast.get_docstring(node) or "")
        for name, tree in trees.items()
        if name.startswith("tests/")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (found := NAMED.match(node.name))
    ]


@pytest.mark.parametrize("number", CLAIMED)
def test_a_claimed_invariant_is_tested(number, trees):
    assert number in {found for found, _, _ in invariant_tests(trees)}


def test_a_test_of_an_invariant_says_which_change_would_make_it_fail(trees):
    silent = [place for _, place, docstring in invariant_tests(trees) if len(docstring) < 20]
    assert silent == []


def test_only_invariants_that_exist_are_named(trees):
    assert {number for number, _, _ in invariant_tests(trees)} <= set(range(1, 12))
