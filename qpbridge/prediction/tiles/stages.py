"""How long each stage of a run was busy, and which one holds up the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stages:
    """A stopwatch for each stage; several threads may be in one at the same time.

    A stage within another one, in the same thread, doesn't count for the outer one.

    Attributes
    ----------
    busy
        Seconds by the name of the stage, summed over its threads; in the order of first use.
    """

    def __init__(self) -> None:
        self.busy: dict[str, float] = {}
        self._lock = threading.Lock()
        self._within = threading.local()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the time spent in the block as that of a stage."""
        with self._lock:
            self.busy.setdefault(name, 0.0)
        outer = getattr(self._within, "seconds", 0.0)
        self._within.seconds = 0.0
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            with self._lock:
                self.busy[name] += spent - self._within.seconds
            self._within.seconds = outer + spent

    @property
    def bottleneck(self) -> str:
        """The stage with most of the time; empty if there was none."""
        return max(self.busy, key=self.busy.__getitem__, default="")
