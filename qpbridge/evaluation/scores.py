"""All scores of one image, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from qpbridge.evaluation import objects, pixels
from qpbridge.evaluation.boundaries import boundary_scores
from qpbridge.evaluation.overlaps import Labels, Overlaps, overlaps

MEANINGS: Mapping[str, str] = {
    "aji": "aggregated Jaccard index",
    "aji_plus": "aggregated Jaccard index with one-to-one pairing",
    "pq": "panoptic quality, DQ times SQ",
    "dq": "detection quality: F1 of objects at IoU 0.5",
    "sq": "segmentation quality: mean IoU of the objects found",
    "f1": "F1 of objects at IoU 0.5",
    "f1_mean": "mean F1 of objects at IoU 0.5, 0.55 ... 0.95",
    "object_f1": "F1 of objects as in the GlaS challenge",
    "object_dice": "Dice by objects, weighted by area",
    "object_hausdorff": "Hausdorff distance by objects, weighted by area, in pixels",
    "abd": "average boundary distance by objects, weighted by area, in pixels",
    "ari": "adjusted Rand index of the pixels",
    "missed": "true objects that were not found",
    "false": "objects found where there are none",
    "merged": "objects found that hold two or more true ones",
    "split": "true objects that were found in two or more pieces",
    "dice": "Dice of the foreground, pixel by pixel",
    "jaccard": "Jaccard index of the foreground",
    "miou": "mean Jaccard index of foreground and background",
    "sensitivity": "share of the true foreground that was found",
    "specificity": "share of the true background that was left alone",
    "accuracy": "share of pixels that are right",
    "auc": "area under the ROC curve of the foreground probability",
    "truth_count": "number of true objects",
    "predicted_count": "number of objects found",
}
"""What each score is, in a line."""

OF_PIXELS = ("dice", "jaccard", "miou", "sensitivity", "specificity", "accuracy", "auc")
"""Scores that masks have as well, in which objects are not told apart."""

THRESHOLDS = np.arange(0.5, 0.96, 0.05).round(2).tolist()
"""Of `f1_mean`."""


def image_scores(
    truth: Labels,
    prediction: Labels,
    level: npt.NDArray[np.floating] | None = None,
    *,
    known: npt.NDArray[np.bool_] | None = None,
) -> dict[str, float]:
    """Return all scores of one image.

    Parameters
    ----------
    truth, prediction
        Instance maps (H, W); 0 is background, objects need not be numbered without gaps.
    level
        Foreground probability (H, W), for the AUC; None: no AUC.
    known
        bool (H, W), the pixels that count; None: all.

    Returns
    -------
    dict
        By the names in `MEANINGS`; NaN where there is nothing to measure.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"Shapes differ: truth {truth.shape}, prediction {prediction.shape}.")
    if known is not None:
        truth, prediction = np.where(known, truth, 0), np.where(known, prediction, 0)
    size = truth.size if known is None else int(np.count_nonzero(known))
    scores = _of_objects(truth, prediction, size)
    counted = np.s_[:] if known is None else known
    truth, prediction = truth[counted], prediction[counted]
    counts = pixels.confusion(truth != 0, prediction != 0)
    scores |= {
        "dice": pixels.dice(counts),
        "jaccard": pixels.jaccard(counts),
        "miou": pixels.mean_iou(counts),
        "sensitivity": pixels.sensitivity(counts),
        "specificity": pixels.specificity(counts),
        "accuracy": pixels.accuracy(counts),
    }
    if level is not None:
        scores["auc"] = pixels.auc(truth != 0, level[counted])
    return scores


def mean_scores(images: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each score over images, NaN left out; NaN where all are."""
    rows = list(images)
    names = dict.fromkeys(name for row in rows for name in row)
    values = {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}
    return {
        name: float(np.nanmean(v)) if np.isfinite(v).any() else float("nan")
        for name, v in values.items()
    }


def _of_objects(truth: Labels, prediction: Labels, size: int) -> dict[str, float]:
    table = overlaps(truth, prediction, size)
    hausdorff, average = boundary_scores(truth, prediction, table)
    return {
        **object_scores(table),
        "object_hausdorff": hausdorff,
        "abd": average,
        "ari": objects.adjusted_rand(table),
    }


def object_scores(table: Overlaps) -> dict[str, float]:
    """Return the scores that areas and overlaps alone tell.

    Parameters
    ----------
    table
        Of labels, or of outlines.

    Returns
    -------
    dict
        By the names in `MEANINGS`; NaN where there is nothing to measure.
    """
    errors = objects.count_errors(table)
    dq = objects.detection_quality(table)
    f1 = objects.f1_by_iou(table, THRESHOLDS)
    return {
        "aji": objects.aji(table),
        "aji_plus": objects.aji_plus(table),
        "pq": objects.panoptic_quality(table),
        "dq": dq,
        "sq": objects.segmentation_quality(table),
        "f1": dq,
        "f1_mean": float(np.mean(f1)),
        "object_f1": objects.object_f1(table),
        "object_dice": objects.object_dice(table),
        **{name: float(value) for name, value in errors._asdict().items()},
        "truth_count": float(len(table.truth_area)),
        "predicted_count": float(len(table.predicted_area)),
    }
