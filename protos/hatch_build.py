"""Compiles the protos in place at install, so that the contract and its stubs never differ."""

import os
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileProtos(BuildHookInterface):  # type: ignore[type-arg]
    """Runs protoc once per build; works the same for a wheel and an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        sources = [str(path) for path in sorted(root.glob("strongroom/*/v1/*.proto"))]
        outputs = [
            f"--python_out={root}",
            f"--grpc_python_out={root}",
            f"--mypy_out={root}",
            f"--mypy_grpc_out=only_async:{root}",
        ]
        # The mypy plugins are scripts beside the interpreter, which an unactivated environment has not on its PATH.
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        well_known = files("grpc_tools") / "_proto"
        if protoc.main(["protoc", f"-I{root}", f"-I{well_known}", *outputs, *sources]) != 0:
            raise RuntimeError("protoc could not compile the contract; its message stands above")
