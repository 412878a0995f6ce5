"""What on a region's annotation rests on objects that go."""

from __future__ import annotations

from collections.abc import Container, Iterable

from qpbridge.measurements.grading import DEFINITIONS as GRADES
from qpbridge.measurements.names import recognized
from qpbridge.measurements.region_names import FORMS


def outdated(names: Iterable[str], target: str, kept: Container[str]) -> list[str]:
    """Find what on a region's annotation no longer holds when objects of a target are replaced.

    Parameters
    ----------
    names
        Of measurements.
    target
        nuclei, glands or vessels.
    kept
        What is written anew.
    """
    return [
        name
        for name in names
        if name not in kept and (name in GRADES or recognized(name, *FORMS[target]))
    ]
