"""Reads grammars, one a line, and says what is wrong with each. Its parent ends it when one takes too long."""

from __future__ import annotations

import json
import resource
import sys

from chassis import grammars

MAX_MEMORY = 256 << 20  # bytes of address space, of which it takes 28 MB itself: a gateway has 1 GB with it
MAX_SAID = 300  # characters of what is wrong


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # what it reads is a caller's
    print("ready", flush=True)
    for line in sys.stdin:
        kind, text = json.loads(line)
        print(json.dumps(grammars.fault(kind, text)[:MAX_SAID]), flush=True)


if __name__ == "__main__":
    main()
