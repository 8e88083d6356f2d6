"""Plain data as YAML that people can read and compare."""

from __future__ import annotations

from typing import Any

import yaml

WIDTH = 116


class Block(str):
    """A text that keeps its lines: an expression over several."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _block(dumper: yaml.SafeDumper, text: Block) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(Block, _block)


def yaml_text(heading: str, document: Any) -> str:
    """The document under a comment."""
    comment = "".join(f"# {line}\n" for line in heading.splitlines())
    body = yaml.dump(document, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=WIDTH)
    return f"{comment}\n{body}"
