"""What QuPath counts and scores by the classes of detections.

Names, order and formulas are those of QuPath 0.6.0 (`ObjectCountValueFactory`,
`DetectionPathClassCounts`). Its Allred scores are left out: they depend on a setting of the person
who looks.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from qpbridge.objects import FloatArray, IntArray, ObjectKind, ObjectTable

Names = tuple[str, ...]
"""A class by its names; a derived class such as ``Tumor: Positive`` has several."""

_WEIGHTS = {"Negative": 0, "1+": 1, "2+": 2, "3+": 3}
"""What graded classes count for in an H-score."""
_POSITIVE = ("Positive", "1+", "2+", "3+")


class Score(NamedTuple):
    """A count of detections, or what follows from such counts.

    Attributes
    ----------
    kind
        What it is.
    compute
        From counts, int64 (m, classes + 1) as of `count_detections`, to values (m,).
    """

    kind: Literal["int", "float"]
    compute: Callable[[IntArray], npt.NDArray[Any]]


POSITIVE = "Positive"
"""The class of which QuPath also tells the density."""


def is_detection(table: ObjectTable) -> npt.NDArray[np.bool_]:
    """Tell which objects are detections to QuPath: cells and tiles, too."""
    return np.isin(table.kind, (ObjectKind.DETECTION, ObjectKind.CELL, ObjectKind.TILE))


def class_scores(table: ObjectTable) -> dict[str, Score]:
    """Find what can be said of the detections of an image, by the classes that they have.

    Returns
    -------
    dict
        By QuPath's name and in its order; of an image without detections, that there are none.
    """
    index = table.class_index[is_detection(table)]
    every = [path_class.names for path_class in table.classes]
    found, first = np.unique(index, return_index=True)
    order = found[np.argsort(first)]  # of first appearance, as QuPath goes through them
    there = list(dict.fromkeys(every[i] for i in order if i >= 0))
    marked = [names for names in there if names[-1] in _POSITIVE or names[-1] == "Negative"]
    parents = list(dict.fromkeys(names[:-1] for names in marked))
    graded = list(dict.fromkeys(n[:-1] for n in marked if n[-1] in ("1+", "2+", "3+")))

    scores = {"Num Detections": Score("int", lambda counts: counts.sum(axis=1))}
    for names in sorted(filter(None, parents), key=_full):
        columns = _columns(every, partial(_is_below, names))
        scores[f"Num {_full(names)} (base)"] = Score("int", partial(_total, columns))
    for names in sorted(there, key=_full):
        columns = _columns(every, partial(operator.eq, names))
        scores[f"Num {_full(names)}"] = Score("int", partial(_total, columns))
    for kind, bases, compute in (
        ("Positive %", parents, _positive_percentage),
        ("H-score", graded, _h_score),
    ):
        for several in [*((base,) for base in bases), *([tuple(bases)] if len(bases) > 1 else [])]:
            name = _name(kind, several)
            scores.setdefault(name, Score("float", partial(compute, every, several)))
    return scores


def positive_count(table: ObjectTable, counts: IntArray) -> IntArray:
    """Count the detections of class Positive and those derived of it, int64 (m,)."""
    every = [path_class.names for path_class in table.classes]
    return _total(_columns(every, lambda names: names[0] == POSITIVE), counts)


def _full(names: Names) -> str:
    return ": ".join(names)


def _name(kind: str, bases: Sequence[Names]) -> str:
    """Name a score of one base class, or of several together, as QuPath does."""
    if len(bases) > 1:
        return f"{' + '.join(sorted(base[-1] if base else '' for base in bases))}: {kind}"
    return f"{bases[0][0]}: {kind}" if bases[0] else kind


def _is_below(base: Names, names: Names) -> bool:
    """Whether a class is the base, or derived from it; no base: whether it is derived of none."""
    return names[: len(base)] == base if base else len(names) == 1


def _columns(every: Iterable[Names], fits: Callable[[Names], bool]) -> IntArray:
    return np.array([i for i, names in enumerate(every) if fits(names)], np.int64)


def _total(columns: IntArray, counts: IntArray) -> IntArray:
    total: IntArray = counts[:, columns].sum(axis=1)
    return total


def _marked(
    every: Sequence[Names], bases: Sequence[Names], mark: str, counts: IntArray
) -> IntArray:
    """Count what is marked so, below any of the base classes: twice if it is below two."""
    fits = [
        i
        for base in bases
        for i, names in enumerate(every)
        if names[-1] == mark and _is_below(base, names)
    ]
    return _total(np.array(fits, np.int64), counts)


def _positive_percentage(
    every: Sequence[Names], bases: Sequence[Names], counts: IntArray
) -> FloatArray:
    positive = sum(_marked(every, bases, mark, counts) for mark in _POSITIVE)
    return 100 * _ratio(positive, positive + _marked(every, bases, "Negative", counts))


def _h_score(every: Sequence[Names], bases: Sequence[Names], counts: IntArray) -> FloatArray:
    number = {mark: _marked(every, bases, mark, counts) for mark in _WEIGHTS}
    weighted = sum(weight * number[mark] for mark, weight in _WEIGHTS.items())
    return 100 * _ratio(weighted, sum(number.values()))


def _ratio(part: Any, whole: Any) -> FloatArray:
    ratio: FloatArray = np.full(len(whole), np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio
