"""What is committed names no machine, and what the README says can be done."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READMES = sorted(ROOT.glob("README*.md"))
DOCUMENTS = [*READMES, *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("protos/*.md"))]
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(home|Users|root|work|mnt|opt)/[\w.-]+|[A-Z]:\\Users\\")
INDEX_OPTION = re.compile(r"--(extra-)?index-url|--find-links|--trusted-host")
TEXT = (".py", ".md", ".toml", ".yaml", ".yml", ".json", ".lua", ".proto", ".css", ".txt", ".lock", ".sh", "Makefile")


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(path):
    """The shell lines of a document, without comments."""
    lines = "\n".join(blocks(path, "sh")).replace("\\\n", " ").split("\n")
    return [shlex.split(line, comments=True) for line in lines]


def named(path):
    return str(path.relative_to(ROOT))


def test_no_file_names_a_place_on_somebodys_machine(files):
    for name in files:
        if name.endswith(TEXT) and not name.startswith("tests/architecture/"):
            found = MACHINE_PATH.search((ROOT / name).read_text(encoding="utf-8"))
            assert not found, f"{name} names {found.group()}"


def test_no_file_names_a_package_index(files):
    """Where packages come from is the machine's own setting."""
    for name in files:
        if name.endswith(TEXT) and not name.startswith("tests/architecture/"):
            found = INDEX_OPTION.search((ROOT / name).read_text(encoding="utf-8"))
            assert not found, f"{name} names a package index: {found.group()}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_lead_somewhere(document):
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", document.read_text(encoding="utf-8"))
    missing = [link for link in links if not (document.parent / link).exists()]
    assert missing == []


def anchors(document):
    """What a heading may be named by: its words in small letters, joined by hyphens."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)", text, re.M)
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_into_a_document_lead_to_a_heading(document):
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", document.read_text(encoding="utf-8"))
    missing = [
        f"{file}#{anchor}"
        for file, anchor in links
        if anchor not in anchors((document.parent / file).resolve() if file else document)
    ]
    assert missing == []


def test_both_readmes_have_the_same_commands_and_documents():
    """Of a command, its words up to the first that is an argument."""
    first, *others = READMES
    for other in others:
        assert documents(other) - {first.name} == documents(first) - {other.name}
        assert told(other) == told(first)


def documents(readme):
    """Where it leads; a document's Chinese version is that document."""
    return {
        link.replace(".zh.", ".") if link.startswith("docs/") else link
        for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", readme.read_text(encoding="utf-8"))
    }


def told(readme):
    return [re.match(r"\S+(?: [a-z][a-z-]+)*", " ".join(words)).group() for words in commands(readme) if words]


@pytest.mark.parametrize("readme", READMES, ids=named)
def test_make_targets_of_the_readme_exist(readme):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = {words[1] for words in commands(readme) if words[:1] == ["make"]}
    assert {"up", "test"} <= asked <= targets


@pytest.mark.parametrize("readme", READMES, ids=named)
def test_commands_of_the_readme_are_understood(readme):
    from strongroom.cli.main import command_parser

    lines = [words for words in commands(readme) if words and words[0].endswith("strongroom")]
    assert {words[1] for words in lines} >= {"ask", "trace", "audit"}
    for words in lines:
        command_parser().parse_args(words[1:])  # leaves with 2 at what it does not know


@pytest.mark.parametrize("readme", READMES, ids=named)
def test_python_of_the_readme_imports_what_exists(readme):
    [block] = blocks(readme, "python")
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@pytest.mark.parametrize("readme", READMES, ids=named)
def test_grpcurl_of_the_readme_calls_a_method_that_exists(readme):
    from strongroom.gateway.v1 import gateway_pb2

    called = re.findall(r"(strongroom\.\w+\.v1\.\w+)/(\w+)", readme.read_text(encoding="utf-8"))
    gateway = gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"]
    assert called
    for service, method in called:
        assert service == gateway.full_name and method in gateway.methods_by_name


@pytest.mark.parametrize("readme", READMES, ids=named)
def test_ports_of_the_readme_are_the_chassis_own(readme):
    from chassis.settings import HTTP_OFFSET, PORT_OFFSETS

    rows = re.findall(r"^\| (\w+) \| (\d{4}) \| (\d{4})? ?\|", readme.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name.lower() for name, _, _ in rows} >= {"gateway", "guard", "inference", "audit", "monitor", "redis"}
    for name, grpc_port, http_port in rows:
        assert int(grpc_port) == 7400 + PORT_OFFSETS[name.lower()]
        assert not http_port or int(http_port) == int(grpc_port) + HTTP_OFFSET
