"""How much memory a model may take on this machine."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

UNKNOWN = 8_000_000_000
"""Bytes that a machine is taken to have that doesn't say."""


def machine_memory() -> int:
    """Return the bytes of memory of this machine, or of the container that this runs in."""
    found = [UNKNOWN]
    with contextlib.suppress(AttributeError, ValueError, OSError):
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    if sys.platform == "win32":
        found = [_windows_memory()]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # there is none, or it says "max"
            found.append(int(Path("/sys/fs/cgroup", name).read_text()))
    return min(found)


def _windows_memory() -> int:
    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((f"bytes_{i}", ctypes.c_ulonglong) for i in range(7)),
        )

    status = Status(length=ctypes.sizeof(Status))
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009
    kernel.GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.bytes_0)
