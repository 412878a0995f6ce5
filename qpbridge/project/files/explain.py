"""What the operating system says, as a sentence with the file and the cure."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from qpbridge.errors import ProjectError


@contextlib.contextmanager
def explain_reading(path: Path) -> Iterator[None]:
    """Turn what the operating system says about looking at `path` into a `ProjectError`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            text = "no permission to read this; ask its owner, or run as a user who may"
        elif error.errno == errno.ELOOP:
            text = "links lead in a circle here; put the file or folder itself in their place"
        else:
            text = f"can't be read ({error.strerror or error})"
        raise ProjectError(f"{path}: {text}") from error


@contextlib.contextmanager
def explain_failure(path: Path) -> Iterator[None]:
    """Turn what the operating system says about writing `path` into a `ProjectError`."""
    try:
        yield
    except OSError as error:
        unchanged = "nothing was changed"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            text = f"the disk is full, {unchanged}; free some space and run again"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            text = (
                f"no permission to write here, {unchanged}; make the project writable, "
                "and close other programs that have it open"
            )
        else:
            text = f"can't be written ({error.strerror or error}), {unchanged}"
        raise ProjectError(f"{path}: {text}") from error
