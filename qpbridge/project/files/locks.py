"""One writer at a time: a lock file that says who holds it, and is taken from the dead."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from qpbridge.errors import ProjectError
from qpbridge.project.files.atomic import explain_failure, remove, remove_orphans, sibling, surely

LOCK_NAME = "qpbridge.lock"


@contextlib.contextmanager
def lock(folder: Path, *, wait: float = 10.0) -> Iterator[None]:
    """Hold the right to write in a project, against every other qpbridge.

    QuPath knows no lock; against it there is only `FileState`.

    Parameters
    ----------
    folder
        Of the project.
    wait
        Seconds to wait for another writer.

    Raises
    ------
    ProjectError
        If another process holds the lock, or the folder isn't writable.
    """
    path = folder / LOCK_NAME
    pid = os.getpid()
    mine = json.dumps(
        {
            "pid": pid,
            "host": platform.node(),
            "numbering": _numbering(),
            "started": _started(pid),
            "time": time.strftime("%Y-%m-%d %H:%M:%S"),
            "token": uuid.uuid4().hex,
        }
    )
    deadline = time.monotonic() + wait
    try:
        while not _acquire(path, mine):
            holder = _content(path)
            if holder is not None and _is_stale(path, holder):
                _break(path, holder)
            elif time.monotonic() >= deadline:
                raise ProjectError(
                    f"{path}: another qpbridge is at work here ({_describe(holder)}); "
                    "run again when it is done, or delete this file if it no longer runs"
                )
            else:
                time.sleep(0.05)
        with explain_failure(folder):
            remove_orphans(path)
        yield
    finally:
        surely(lambda: _release(path, mine))


def _acquire(path: Path, mine: str) -> bool:
    """Make the lock file together with what it says, so that nobody can leave an empty one."""
    if path.exists():
        return False
    temp = sibling(path, uuid.uuid4().hex, "new")
    with explain_failure(path.parent):
        try:
            _write_new(temp, mine)
            try:
                path.hardlink_to(temp)
            except FileExistsError:
                return _content(path) == mine  # an answer got lost in the network
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                try:
                    _write_new(path, mine)
                except FileExistsError:
                    return False
        finally:
            surely(lambda: remove(temp))
    return True


def _release(path: Path, mine: str) -> None:
    if _content(path) == mine:
        remove(path)


def _write_new(path: Path, text: str) -> None:
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
    except BaseException:
        remove(path)
        raise


def _content(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return None


def _is_stale(path: Path, holder: str) -> bool:
    try:
        known = json.loads(holder)
        pid, started = int(known["pid"]), known["started"]
        place = known["host"], known["numbering"]
    except (ValueError, TypeError, KeyError):
        # Being written right now, or its writer died halfway.
        with contextlib.suppress(OSError):
            return time.time() - path.stat().st_mtime > 60
        return False
    if place != (platform.node(), _numbering()) or os.name == "nt":
        return False  # on Windows the question "does it run?" would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # runs as somebody else
    return bool(started != _started(pid))


def _numbering() -> str | None:
    """Return what tells containers apart that share a host's name, but number processes anew."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None


def _started(pid: int) -> str | None:
    """Return when a process began, in clock ticks: tells two processes of one number apart."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _break(path: Path, holder: str) -> None:
    """Take a dead process's lock away, unless somebody else just did and holds a new one.

    Of several who try, one gets the second name, which is the same for all, and may do it.
    """
    aside = sibling(path, hashlib.blake2b(holder.encode(), digest_size=16).hexdigest(), "old")
    with explain_failure(path.parent), contextlib.suppress(FileNotFoundError):
        try:
            aside.hardlink_to(path)
        except FileExistsError:
            if time.time() - aside.stat().st_ctime > 10:  # died at it
                remove(aside)
            return
        except FileNotFoundError:
            return
        except OSError:  # no links on this disk
            path.replace(aside)
        else:
            if _content(aside) == holder:
                path.unlink()
        remove(aside)


def _describe(holder: str | None) -> str:
    try:
        known = json.loads(holder or "")
        return f"process {known['pid']} on {known['host']} since {known['time']}"
    except (ValueError, TypeError, KeyError):
        return "unknown process"
