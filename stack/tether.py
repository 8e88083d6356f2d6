"""Runs a command that ends when the process that started it does: `python -IS tether.py PARENT COMMAND…`.

A file of its own, run without site-packages: it costs 20 ms, and the supervisor needs no code between fork and exec.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2); it survives execve


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the line above
            raise SystemExit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
