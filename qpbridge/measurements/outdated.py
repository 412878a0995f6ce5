"""Which measurements of a region no longer hold when its objects are replaced: by name alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qpbridge.measurements.grading import DEFINITIONS as GRADES


def outdated(names: Sequence[str], target: str, kept: Mapping[str, float]) -> list[str]:
    """Find what on a region's annotation no longer holds when objects of a target are replaced.

    Parameters
    ----------
    names
        Of measurements.
    target
        Of `TARGETS`.
    kept
        What is written anew.
    """
    prefix = f"{target.capitalize()}: "
    return [n for n in names if (n.startswith(prefix) or n in GRADES) and n not in kept]
