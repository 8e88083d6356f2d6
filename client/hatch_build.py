"""Puts the contract's stubs into the client's wheel, so that one wheel is all a caller installs."""

import importlib.util
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CONTRACTS = ("audit", "gateway", "guard", "inference", "monitor")  # what callers and the command line speak


class CarryStubs(BuildHookInterface):  # type: ignore[type-arg]
    """A wheel carries them; an editable install finds them in ../protos, which is installed editable beside it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        protos = Path(self.root).parent / "protos"
        if not (protos / "hatch_build.py").is_file():
            raise RuntimeError(f"no contract at {protos}: the client's wheel is built from the whole tree")
        self._compiled = Path(tempfile.mkdtemp())
        sources = [protos / "strongroom" / name / "v1" / f"{name}.proto" for name in CONTRACTS]
        _contract(protos).compile_protos(protos, sources, self._compiled)
        for stub in self._compiled.rglob("*.py*"):
            build_data["force_include"][str(stub)] = str(stub.relative_to(self._compiled))
        for source in sources:
            build_data["force_include"][str(source)] = str(source.relative_to(protos))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            shutil.rmtree(self._compiled)


def _contract(protos: Path) -> Any:
    """The contract's own build hook: one compiler with one set of options."""
    spec = importlib.util.spec_from_file_location("compiling", protos / "hatch_build.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
