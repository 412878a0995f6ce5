"""Positive and negative cells by an intensity, as QuPath classifies and counts them.

Rules read in QuPath 0.4 to 0.7 (``setIntensityClassification``, ``PathClass``, and its table of
measurements). QuPath computes positive percentages and H-scores live from the classes of an image's
detections: they are not stored in a project; tables have them (`qpbridge.tables.scores`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from qpbridge.objects import FloatArray, PathClass

THRESHOLDS = (0.2, 0.4, 0.6)
"""QuPath's own first choice for a mean optical density of DAB: the first alone, or all three."""

NEGATIVE, POSITIVE, GRADES = "Negative", "Positive", ("1+", "2+", "3+")

# Name: (colour below the class Tumor, brightness relative to the parent below any other class).
_COLORS: dict[str, tuple[tuple[int, int, int], float]] = {
    POSITIVE: ((200, 50, 50), 0.75),
    NEGATIVE: ((90, 90, 180), 1.25),
    "1+": ((255, 215, 0), 0.9),
    "2+": ((225, 150, 50), 0.6),
    "3+": ((200, 50, 50), 0.4),
}

DEFINITIONS: Mapping[str, str] = {
    "CLASS: Positive %": (
        "Detections classified Positive, 1+, 2+ or 3+, in % of these and the Negative ones; one "
        "number for each class that they derive from. QuPath computes it live, `qpbridge export` "
        "writes it into tables."
    ),
    "CLASS: H-score": (
        "100 x (1 x 1+ plus 2 x 2+ plus 3 x 3+) / (Negative plus 1+ plus 2+ plus 3+), numbers of "
        "detections: 0 to 300. QuPath computes it live, `qpbridge export` writes it into tables."
    ),
}
"""What each score is, by the form of its name; without CLASS for what derives from none."""


def intensity_class(base: PathClass | None, name: str) -> PathClass:
    """Derive a class as QuPath does, with the colour that QuPath gives it.

    Parameters
    ----------
    base
        What it derives from; None for an unclassified object.
    name
        Positive, Negative, 1+, 2+ or 3+.
    """
    color, factor = _COLORS[name]
    if base is None:
        return PathClass((name,), _scaled(color, 1.25))
    if base.names == ("Tumor",):
        return PathClass((*base.names, name), color)
    return PathClass((*base.names, name), base.color and _scaled(base.color, factor))


def base_class(path_class: PathClass) -> PathClass | None:
    """Take the intensities off the end of a class; None if nothing else is left.

    The colour is kept if nothing was taken off, else it is unknown (QuPath's own).
    """
    names = path_class.names
    while names and names[-1] in _COLORS:
        names = names[:-1]
    if names == path_class.names:
        return path_class
    return PathClass(names) if names else None


def classify_intensity(
    classes: Sequence[PathClass],
    class_index: npt.NDArray[np.int32],
    intensity: FloatArray,
    thresholds: Sequence[float] = THRESHOLDS[:1],
) -> tuple[tuple[PathClass, ...], npt.NDArray[np.int32]]:
    """Derive positive and negative classes from an intensity, and keep what they derive from.

    ``Nucleus`` becomes ``Nucleus: Positive``, no class becomes ``Positive``; an intensity that a
    class had already is replaced. Where the intensity is NaN the class is what it derives from.
    Classes that QuPath ignores (``Ignore*``) stay.

    Parameters
    ----------
    classes
        The distinct classes.
    class_index
        int32 (n,), which one each object has; -1: none.
    intensity
        float64 (n,), such as the mean optical density of DAB in each nucleus.
    thresholds
        One for Positive and Negative; three, ascending, for Negative, 1+, 2+ and 3+. A value that
        equals a threshold is above it.

    Returns
    -------
    classes
        The given ones, and those that are new.
    class_index
        int32 (n,).

    Raises
    ------
    ValueError
        If there are not one or three thresholds, ascending.
    """
    ascending = bool(np.all(np.diff(thresholds) > 0)) and bool(np.all(np.isfinite(thresholds)))
    if len(thresholds) not in (1, 3) or not ascending:
        raise ValueError(f"one threshold, or three that ascend, not {tuple(thresholds)}")
    names = (NEGATIVE, POSITIVE) if len(thresholds) == 1 else (NEGATIVE, *GRADES)
    level = np.searchsorted(thresholds, intensity, side="right")
    level = np.where(np.isnan(intensity), -1, level)

    known = {path_class: path_class for path_class in classes}
    out: dict[PathClass, int] = {path_class: i for i, path_class in enumerate(classes)}
    # one row a class (the last for no class), one column a level (the last for no intensity)
    table = np.empty((len(classes) + 1, len(names) + 1), np.int32)
    used = np.zeros(table.shape, bool)
    used[class_index, level] = True
    for row, given in enumerate([*classes, None]):
        base = None if given is None else base_class(given)
        base = known.get(base, base) if base is not None else None
        for column, name in enumerate([*names, None]):
            if not used[row, column]:
                continue
            if given is not None and base is not None and base.is_ignored:
                chosen: PathClass | None = given
            else:
                chosen = base if name is None else intensity_class(base, name)
            table[row, column] = -1 if chosen is None else out.setdefault(chosen, len(out))
    return tuple(out), table[class_index, level]


def _scaled(color: tuple[int, int, int], factor: float) -> tuple[int, int, int]:
    r, g, b = (min(int(value * factor), 255) for value in color)
    return r, g, b
