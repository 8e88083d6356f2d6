"""Compiles the protos in place at install, so that the contract and its stubs never differ."""

import os
import sys
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileProtos(BuildHookInterface):  # type: ignore[type-arg]
    """Runs protoc once per build; works the same for a wheel and an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        compile_protos(root, sorted(root.glob("strongroom/*/v1/*.proto")), root)


def compile_protos(root: Path, sources: Iterable[Path], output: Path) -> None:
    """Stubs and their types, in the folders of their packages under `output`. The client's wheel calls it too."""
    outputs = [
        f"--python_out={output}",
        f"--grpc_python_out={output}",
        f"--mypy_out={output}",
        f"--mypy_grpc_out=only_async:{output}",
    ]
    # The mypy plugins are scripts beside the interpreter, which an unactivated environment has not on its PATH.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    well_known = files("grpc_tools") / "_proto"
    if protoc.main(["protoc", f"-I{root}", f"-I{well_known}", *outputs, *map(str, sources)]) != 0:
        raise RuntimeError("protoc could not compile the contract; its message stands above")
