"""How the command ends: exit codes as the table of ends has them, and one clear line for whatever goes wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from strongroom.failures import CallFailed
from strongroom.location import NotConfigured

OK, CALLERS_OWN, FAILED = 0, 2, 5


class Complaint(Exception):
    """Something the command itself cannot accept; says what and the remedy."""


def ending_well(run: Callable[[], int]) -> int:
    """Runs a command; every expected failure becomes one line on standard error and an exit code."""
    try:
        code = run()
        sys.stdout.flush()
        return code
    except CallFailed as failure:
        _complain(describe(failure))
        return CALLERS_OWN if failure.is_callers_own else FAILED
    except (Complaint, NotConfigured) as complaint:
        _complain(str(complaint))
        return CALLERS_OWN
    except KeyboardInterrupt:
        _complain("cancelled")
        return FAILED
    except BrokenPipeError:  # whoever read our output has enough; the interpreter must not flush into it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def describe(failure: CallFailed) -> str:
    """One line: what, the field, when to try again, and the stable reason for whoever looks it up."""
    facts = [failure.reason if failure.reason == failure.code else f"{failure.code} {failure.reason}"]
    if failure.field:
        facts.append(f"field {failure.field}")
    if failure.retry_after_seconds is not None:
        facts.append(f"try again in {failure.retry_after_seconds:g} s")
    return f"{failure} [{', '.join(facts)}]"


def _complain(line: str) -> None:
    print(f"strongroom: {line}", file=sys.stderr, flush=True)
