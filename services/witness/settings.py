"""What a witness can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chassis.settings import StackSettings


@dataclass(frozen=True, kw_only=True)
class WitnessSettings(StackSettings):
    """STRONGROOM_WITNESS_…"""

    folder: Path = Path(".strongroom-witness")  # its key, the logs that it knows, what it last cosigned of each
    name: str = ""  # of a new witness, as a URL without its scheme: witness.example/w1
    port: int = 7450  # 1024 to 65535; of no stack, so STRONGROOM_PORT_BASE does not move it

    def check(self) -> list[str]:
        problems = []
        if not 1024 <= self.port <= 65535:
            problems.append(f"STRONGROOM_WITNESS_PORT: {self.port} is not between 1024 and 65535")
        own = self.folder.expanduser().resolve()
        if any(own.is_relative_to(theirs.expanduser().resolve()) for theirs in (self.home, self.keys_folder)):
            problems.append(
                f"STRONGROOM_WITNESS_FOLDER: {self.folder} lies where a log's own keys lie: whoever rewrites the log "
                "there rewrites what its witness remembers. Name a folder elsewhere, best on another machine"
            )
        return problems

    @property
    def own_address(self) -> str:
        host = f"[{self.bind}]" if ":" in self.bind else self.bind
        return f"{host}:{self.port}"
