"""vLLM loads this in each of its processes, as a plugin: its engine ends when our worker does, however that ends."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)
ENGINE = "EngineCore"  # how vLLM names the process that it starts; the processes below it watch that one themselves


def tie() -> None:
    """Does nothing in the worker. vLLM's engine has no eye on who started it: after `kill -9` of a worker it would
    stay, with the model in memory."""
    parent = multiprocessing.parent_process()
    if sys.platform != "linux" or parent is None or not multiprocessing.current_process().name.startswith(ENGINE):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent.pid:  # it died before the line above
        os.kill(os.getpid(), signal.SIGKILL)
