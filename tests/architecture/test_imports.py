"""Who may know whom. The rules stand in pyproject.toml; what import-linter cannot say stands here."""

import ast
import subprocess
import sys
import tomllib

import pytest

VERIFIER = "client/strongroom/verify.py"


def imported(tree):
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_import_rules_hold(tool):
    said = tool("lint-imports", "--no-cache")
    assert said.returncode == 0, said.stdout + said.stderr


def test_every_core_is_under_the_rules(root):
    """A new folder of a service is a core unless it is named here: then it may know the wire."""
    knows_the_wire = {"services/inference/worker"}
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [rule] = [contract for contract in contracts if contract["name"] == "a core knows neither wire nor store"]
    cores = {module.replace(".", "/") for module in rule["source_modules"]}
    folders = {str(path.parent.relative_to(root)) for path in root.glob("services/*/*/__init__.py")}
    assert folders - knows_the_wire <= cores
    assert {core for core in cores if not (root / core).is_dir() and not (root / f"{core}.py").is_file()} == set()


def test_the_verifier_stands_on_the_standard_library_alone(trees, root):
    modules = {module.partition(".")[0] for module in imported(trees[VERIFIER])}
    assert modules <= sys.stdlib_module_names
    bare = [sys.executable, "-I", "-S", str(root / VERIFIER), "--help"]  # -S: no installed package is in reach
    assert subprocess.run(bare, capture_output=True, timeout=60, check=False).returncode == 0


def test_flash_attention_is_imported_in_one_file_only(trees):
    importers = [name for name, tree in trees.items() if any(m.startswith("flash_attn") for m in imported(tree))]
    assert len([name for name in importers if not name.startswith("tests/")]) <= 1


def test_vllm_is_imported_in_one_file_only(trees):
    """Everything else of its engine is tested without it."""
    importers = [
        name
        for name, tree in trees.items()
        if not name.startswith("benchmarks/") and any(m.partition(".")[0] == "vllm" for m in imported(tree))
    ]
    assert importers == ["services/inference/engine/vllm_opening.py"]


def test_nothing_is_mocked(trees):
    mocked = [
        name for name, tree in trees.items() if any(m.startswith(("unittest.mock", "mock")) for m in imported(tree))
    ]
    assert mocked == []


def test_monkeypatch_changes_nothing_but_the_environment(trees):
    harmless = {"setenv", "delenv", "chdir", "context", "syspath_prepend"}
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "monkeypatch":
                assert node.attr in harmless, f"{name}:{node.lineno} patches code: pass it in instead"


def test_the_namespace_is_shared_by_contract_and_client(root):
    assert not list(root.glob("*/strongroom/__init__.py"))


@pytest.mark.parametrize("module", ["chassis.settings", "chassis.failures", "services.monitor.traces.store"])
def test_a_core_loads_without_grpc_and_redis(module):
    code = f"import sys, {module}; sys.exit(bool({{'grpc', 'redis'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
