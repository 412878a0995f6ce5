"""How many processors this process may use: fewer than the machine has, on a shared one."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path


def usable_processors(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """Count the processors that this process may use, at least one.

    What the machine has is bounded by the affinity of the process, by ``SLURM_CPUS_PER_TASK``, and
    by the quota of its container or service (cgroups of both versions), rounded up.

    Parameters
    ----------
    environment
        Of the process.
    root
        Where ``proc`` and ``sys`` lie.

    Examples
    --------
    >>> usable_processors({"SLURM_CPUS_PER_TASK": "1"})
    1
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    counts = [len(affinity(0)) if affinity is not None else os.cpu_count() or 1]
    with contextlib.suppress(ValueError):
        counts.append(int(environment.get("SLURM_CPUS_PER_TASK", "")))
    counts += [math.ceil(quota) for quota in _quotas(root)]
    return max(min(counts), 1)


def _quotas(root: Path) -> Iterator[float]:
    """Yield the quotas of the control groups that the process is in, in processors.

    A group is bounded by those above it as well. In a container they may not be seen: its own is
    at the top then.
    """
    with contextlib.suppress(OSError, ValueError):
        lines = (root / "proc/self/cgroup").read_text().splitlines()
        for _, controllers, group in (line.split(":", 2) for line in lines):
            if controllers and "cpu" not in controllers.split(","):
                continue
            top = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
            inside = Path(group.lstrip("/"))
            for folder in (inside, *inside.parents):
                with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
                    quota, period = _quota(top / folder, bool(controllers))
                    if quota > 0:
                        yield quota / period


def _quota(folder: Path, first_version: bool) -> tuple[float, float]:
    """Read microseconds of processor time for each period; without a bound it is no number."""
    if first_version:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        quota, period = (float((folder / name).read_text()) for name in names)
    else:
        quota, period = map(float, (folder / "cpu.max").read_text().split())
    return quota, period
