"""One writer at a time: a lock file that says who holds it, and that its holder renews.

A lock is a lease. The holder touches its file every few seconds, and looks whether it still is
its own before it writes. It is taken from a process of this machine that has ended, and from one
of another machine that was not heard of for some minutes. Times are those of the file system that
holds the lock, and what this process has watched; never what two machines take the time to be.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qpbridge.errors import LockedError, ProjectError
from qpbridge.project.files.explain import explain_failure, explain_reading
from qpbridge.project.files.leftovers import remove_abandoned
from qpbridge.project.files.no_links import look, open_plain
from qpbridge.project.files.processes import has_ended, this_process
from qpbridge.project.files.siblings import disk_time, remove, sibling

LOCK_NAME = "qpbridge.lock"

RENEW = 5.0
"""Seconds between two touches."""

LEASE = 180.0
"""Seconds without one after which a lock is taken over."""

WATCH = 2.4 * RENEW
"""Seconds that it is watched before, in case that its machine puts times of its own on files."""

_FOR_THE_LIVING = 6
"""How many times longer is waited for a holder that is known to be at work."""

_UNREADABLE = 60.0
"""Seconds after which a lock is taken over whose writer died before it was complete."""

_SETTLE = 0.5
"""Seconds that a lease taken over rests: a holder that woke up has looked by then, and given up."""

_MOST = 10_000
"""Bytes of a lock that are read."""

_SECRET = "?"
"""Stands for a lock of somebody else that may not be read."""


class Lease:
    """The right to write, as long as it is renewed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        about = {**this_process(), "time": time.strftime("%Y-%m-%d %H:%M:%S")}
        self.text = json.dumps({**about, "token": uuid.uuid4().hex})
        self._ended = threading.Event()

    def confirm(self) -> None:
        """Make sure, right before something is written, that the right is still there.

        Raises
        ------
        ProjectError
            If another process has taken over, because this one was not heard of for too long.
        """
        try:
            held = self.renew()
        except OSError as error:
            raise ProjectError(
                f"{self.path}: the lock can't be renewed ({error.strerror or error}); nothing was "
                "written: check the disk, then run again"
            ) from error
        if not held:
            seen = _read(self.path)
            now = "nobody has it now" if seen is None else f"it is now of {_describe(seen[0])}"
            raise ProjectError(
                f"{self.path}: this process was not heard of for too long, and lost its lock "
                f"({now}); nothing was written, run again"
            )

    def renew(self) -> bool:
        """Touch the lock; False if it is no longer ours."""
        if not self._is_ours():
            return False
        if os.utime in os.supports_follow_symlinks:
            os.utime(self.path, follow_symlinks=False)
        else:
            os.utime(self.path)
        return True

    def keep(self) -> None:
        """Renew it from now on, also while this thread is busy."""
        threading.Thread(target=self._keep, name="qpbridge lock", daemon=True).start()

    def _keep(self) -> None:
        while not self._ended.wait(RENEW):
            try:
                if not self.renew():
                    return
            except ProjectError:
                return
            except OSError:  # a network may come back
                continue

    def release(self) -> None:
        """Give it back; may be repeated."""
        self._ended.set()
        with contextlib.suppress(ProjectError, OSError):
            if self._is_ours():
                remove(self.path)

    def _is_ours(self) -> bool:
        seen = _read(self.path)
        return seen is not None and seen[0] == self.text


@contextlib.contextmanager
def lock(folder: Path, *, wait: float = 10.0) -> Iterator[Lease]:
    """Hold the right to write in a folder, against every other qpbridge.

    QuPath knows no lock; against it there is only `FileState`.

    Parameters
    ----------
    folder
        Of the project.
    wait
        Seconds to wait for another writer; some times that if it is known to be alive.

    Yields
    ------
    lease
        To be confirmed right before something is written.

    Raises
    ------
    LockedError
        If another process holds the lock.
    ProjectError
        If the folder isn't writable, or something else is in the place of the lock.
    """
    lease = Lease(folder / LOCK_NAME)
    try:
        _acquire(lease, wait)
        lease.keep()
        with explain_failure(folder):
            remove_abandoned(folder)
        yield lease
    finally:
        try:
            lease.release()
        finally:
            lease.release()


def _acquire(lease: Lease, wait: float) -> None:
    began, renewed = time.monotonic(), False
    watch: _Watch | None = None
    while not _make(lease):
        with explain_reading(lease.path):
            seen = _read(lease.path)
        if seen is None:
            continue  # given back in this moment
        if watch is None or watch.seen != seen:
            renewed = watch is not None and watch.seen[0] == seen[0]
            watch = _begin_to_watch(lease.path, seen)
        if watch.is_over:
            _break(lease.path, *seen)
            if watch.ended is None:
                time.sleep(_SETTLE)
        elif watch.is_overdue or time.monotonic() < began + wait * (
            _FOR_THE_LIVING if renewed or watch.ended is False else 1
        ):
            time.sleep(0.05)
        else:
            raise LockedError(
                f"{lease.path}: another qpbridge is at work here ({_describe(seen[0])}); run "
                f"again when it is done, or delete this file if it no longer runs{watch.outlook}"
            )


def _make(lease: Lease) -> bool:
    """Make the lock file together with what it says, so that nobody can leave an empty one."""
    path = lease.path
    if look(path) is not None:
        return False
    temp = sibling(path, "new")
    with explain_failure(path.parent):
        try:
            _write_new(temp, lease.text)
            try:
                path.hardlink_to(temp)
            except FileExistsError:
                # An answer may have got lost in the network.
                return (_read(path) or ("",))[0] == lease.text
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                try:
                    _write_new(path, lease.text)
                except FileExistsError:
                    return False
        finally:
            try:
                remove(temp)
            finally:
                remove(temp)
    return True


def _write_new(path: Path, text: str) -> None:
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
    except BaseException:
        remove(path)
        raise


def _read(path: Path) -> tuple[str, int] | None:
    """Read what a lock says, and when it was renewed (ns); None if there is none.

    Raises
    ------
    ProjectError
        If it is a link, a folder, a pipe ...
    OSError
        If it can't be read for another reason than missing permission.
    """
    try:
        handle = open_plain(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except PermissionError:
        found = look(path)
        return None if found is None else (_SECRET, found.st_mtime_ns)
    with os.fdopen(handle, "rb") as file:
        return file.read(_MOST).decode("utf-8", "replace"), os.fstat(handle).st_mtime_ns


@dataclass(frozen=True)
class _Watch:
    """What a process that waits for a lock knows of it, as long as it stays as it is.

    Parameters
    ----------
    seen
        From `_read`.
    ended
        Whether its holder has ended; None: not to be known here.
    patience, confirm
        Seconds without renewal after which it is taken over, and that it has to be watched.
    age
        Seconds since it was renewed, when first seen.
    since
        When that was, by this process's own clock.
    """

    seen: tuple[str, int]
    ended: bool | None
    patience: float
    confirm: float
    age: float
    since: float

    @property
    def watched(self) -> float:
        return time.monotonic() - self.since

    @property
    def is_overdue(self) -> bool:
        """Whether it would have to be renewed by now, if times on this disk can be trusted."""
        return self.ended is None and abs(self.age + self.watched) > self.patience

    @property
    def is_over(self) -> bool:
        if self.ended is not None:
            return self.ended
        return self.is_overdue and self.watched >= self.confirm

    @property
    def outlook(self) -> str:
        if self.ended is not None:
            return ""
        left = max(self.patience - self.age - self.watched, 1)
        return f"; if it isn't renewed, it is taken over in {left:.0f} s"


def _begin_to_watch(path: Path, seen: tuple[str, int]) -> _Watch:
    ended, patience, confirm = None, LEASE, WATCH
    try:
        if seen[0] is not _SECRET:
            ended = has_ended(json.loads(seen[0]))
    except (ValueError, AttributeError, RecursionError):  # half a lock: nobody renews that
        patience, confirm = _UNREADABLE, 0.0
    age = 0.0
    if ended is None:
        with explain_failure(path.parent):
            age = disk_time(path.parent) - seen[1] / 1e9
    return _Watch(seen, ended, patience, confirm, age, time.monotonic())


def _break(path: Path, holder: str, renewed: int | None = None) -> None:
    """Take a lock away, unless it was renewed, or somebody else just did and holds a new one.

    Of several who try, one makes the file that has the same name for all, and may do it.
    """
    aside = sibling(path, "old", hashlib.blake2b(holder.encode(), digest_size=16).hexdigest())
    with explain_failure(path.parent):
        try:
            os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            found = look(aside)
            if found is not None and disk_time(path.parent) - found.st_mtime > 10:  # died at it
                remove(aside)
            time.sleep(0.02)
            return
        try:
            seen = _read(path)
            if seen is not None and seen[0] == holder and renewed in (None, seen[1]):
                path.unlink(missing_ok=True)
        finally:
            try:
                remove(aside)
            finally:
                remove(aside)


def _describe(holder: str) -> str:
    try:
        known = json.loads(holder)
        parts = (f"{known[key]!s:.60}" for key in ("pid", "host", "time"))
        pid, host, when = ("".join(c if c.isprintable() else "?" for c in p) for p in parts)
    except (ValueError, TypeError, KeyError, RecursionError):
        return "unknown process"
    return f"process {pid} on {host} since {when}"
