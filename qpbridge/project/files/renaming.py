"""Putting a file in the place of another, or letting both change places, at once."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_RENAME_SWAP = 2
"""The same on macOS."""

_CANT = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM)
"""What old systems, some file systems and some sandboxes answer."""


def rename(source: Path, target: Path) -> None:
    """Put a file in the place of another at once.

    Windows refuses while a program has the target open. Scanners do for a moment: be patient.
    """
    for patience in (0.05, 0.1, 0.2, 0.4, 0.8) if os.name == "nt" else ():
        try:
            source.replace(target)
        except PermissionError:
            time.sleep(patience)
        else:
            return
    source.replace(target)


def exchange(one: Path, other: Path) -> bool:
    """Let two files change places at once; False where the system can't.

    Raises
    ------
    OSError
        If it can, but refuses: one of them isn't there, the folder may not be written to.
    """
    call = _exchange()
    if call is None:
        return False
    sys.audit("os.rename", str(one), str(other), -1, -1)  # as Python does for its own
    if call(os.fsencode(one), os.fsencode(other)) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANT:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


@functools.cache
def _exchange() -> Callable[[bytes, bytes], int] | None:
    """Find the system's own call: Linux since 3.15 (glibc 2.28), macOS since 10.12."""
    system: str = sys.platform
    try:
        if system == "linux":
            renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
            renameat2.argtypes = [
                ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint
            ]  # fmt: skip
            return lambda a, b: int(renameat2(_AT_FDCWD, a, _AT_FDCWD, b, _RENAME_EXCHANGE))
        if system == "darwin":
            renamex_np = ctypes.CDLL(None, use_errno=True).renamex_np
            renamex_np.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint]
            return lambda a, b: int(renamex_np(a, b, _RENAME_SWAP))
    except (OSError, AttributeError):
        pass
    return None
