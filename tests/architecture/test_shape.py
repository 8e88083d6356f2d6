"""Sizes and names: what can be read in one sitting, and says what it is."""

import ast
import re

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
LONGER = {
    # One file by decision: who has read it has read all that must be trusted to check a log.
    "client/strongroom/verify.py": 1435,
}
WRITTEN_FOR_PEOPLE = {"InvalidPolicy", "InvalidSettings", "InvalidCredentials", "CannotStart"}  # name files and fields
NAMELESS = {"utils", "util", "helpers", "helper", "common", "base", "types", "constants", "misc"}
VAGUE_CLASS = re.compile(r"^(Abstract|Base[A-Z]|I[A-Z][a-z])|(Manager|Handler|Processor|Factory|Helper|Utils?|Impl)$")


def test_no_file_is_longer_than_one_sitting(sources):
    long = {
        name: lines
        for name, source in sources.items()
        if (lines := source.count("\n")) > LONGER.get(name, MAX_FILE_LINES)
    }
    assert long == {}


def test_no_function_is_longer_than_a_page(trees):
    long = {
        f"{name}:{node.name}": lines
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    }
    assert long == {}


def test_names_say_what_a_thing_is(files, trees):
    parts = {part.removesuffix(".py") for name in files if name.endswith(".py") for part in name.split("/")}
    assert parts & NAMELESS == set()
    vague = [
        f"{name}:{node.name}"
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and VAGUE_CLASS.search(node.name)
    ]
    assert vague == []


def test_every_module_says_in_its_first_line_what_it_is(trees):
    silent = [name for name, tree in trees.items() if tree.body and not ast.get_docstring(tree)]
    assert silent == []


def test_unfinished_marks_name_no_one_and_nothing_is_stubbed(sources):
    """An ellipsis is the body of a Protocol's method only."""
    marked = [
        f"{name}:{number}"
        for name, source in sources.items()
        if not name.startswith("tests/architecture/")
        for number, line in enumerate(source.splitlines(), 1)
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError", line)
    ]
    assert marked == []


def test_no_log_line_quotes_an_exception(trees):
    """An exception's text may hold a prompt. Its type, its code and where it arose may be logged."""
    quoting = []
    for name, tree in trees.items():
        if not name.startswith(("services/", "chassis/", "streams/")):
            continue
        for handler in (node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.name):
            if getattr(handler.type, "id", "") in WRITTEN_FOR_PEOPLE:
                continue
            for call in (node for node in ast.walk(handler) if isinstance(node, ast.Call)):
                if isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") in ("log", "logger"):
                    quoting += [f"{name}:{call.lineno}" for value in call.args if _quotes(value, handler.name)]
    assert quoting == []


def _quotes(value, exception):
    """The exception itself, or its text; an attribute of it, such as its code, is something else."""
    if isinstance(value, ast.Name):
        return value.id == exception
    if isinstance(value, ast.Call):
        return getattr(value.func, "id", "") in ("str", "repr") and any(_quotes(a, exception) for a in value.args)
    if isinstance(value, ast.JoinedStr):
        return any(_quotes(part.value, exception) for part in value.values if isinstance(part, ast.FormattedValue))
    return False
