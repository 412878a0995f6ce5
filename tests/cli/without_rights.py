"""Runs commands without root's right to read and write whatever it likes.

``python without_rights.py``: a request on each line of stdin, a JSON object with ``command`` and
a file for its ``report``; the answer is a line with the exit code. A process of its own, since what
forks must not have used threads, as torch does in the tests' process: the child would wait forever
for threads that it doesn't have.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

from click.testing import CliRunner

from qpbridge.cli import main

MOST_SECONDS = 120
"""A child that hangs is ended by its alarm, which is no exit code of ours."""

CAPABILITY_VERSION = 0x20080522
BYPASSES = 1 << 1 | 1 << 2 | 1 << 3
"""CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH and CAP_FOWNER of Linux: by these root passes."""


def drop_rights() -> None:
    """Let permissions count for root too: it stays the owner of its files, as any user is."""
    if os.getuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; low words, then high ones
    if libc.capget(header, sets) == 0:
        sets[0] &= ~BYPASSES
        sets[1] &= ~BYPASSES
        if libc.capset(header, sets) == 0:
            return
    raise OSError(ctypes.get_errno(), "can't drop capabilities")


def run(command: list[str], report: Path) -> int:
    child = os.fork()
    if child == 0:
        signal.alarm(MOST_SECONDS)
        code = 99
        try:
            with report.open("w") as out:
                drop_rights()
                result = CliRunner().invoke(main, command)
                out.write(result.output)
                if result.exception and not isinstance(result.exception, SystemExit):
                    out.write(f"Traceback: {result.exception!r}")
            code = result.exit_code
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


for line in sys.stdin:
    request = json.loads(line)
    print(run(request["command"], Path(request["report"])), flush=True)
