"""Calibrate a model after training, and draw its reliability curve."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qpbridge.evaluation.calibration import (
    Judged,
    calibration_error,
    fit_calibration,
    join,
    reliability,
)


def calibrate(sets: Sequence[Sequence[Judged]], folder: Path) -> dict[str, Any] | None:
    """Find what a model's probabilities are worth; the section ``calibration`` of its metadata.

    How good that is is measured on the images of one half, with what those of the other half say.
    A folder receives their reliability curve as a table and, where matplotlib is
    installed, a picture: reliability.csv and reliability.png.

    Parameters
    ----------
    sets
        What was judged in each validation set, in the images of both halves; sets count alike.
    folder
        For the curve.

    Returns
    -------
    section
        None where there are too few objects.
    """
    if not sets:
        return None
    learned, rest = (join(half) for half in zip(*sets, strict=True))
    judged = join([learned, rest])
    calibration = fit_calibration(judged)
    if calibration is None:
        return None
    section: dict[str, Any] = {
        **{name: list(values) for name, values in calibration._asdict().items()},
        "objects": len(judged.right),
    }
    half = fit_calibration(learned)
    if half is not None:
        stated = rest._replace(probability=half(rest.probability).astype(float))
        section["error"] = round(calibration_error(stated), 4)
        section["error_uncalibrated"] = round(calibration_error(rest), 4)
        _draw({"network": rest, "calibrated": stated}, folder)
    return section


def _draw(curves: dict[str, Judged], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [(name, *point) for name, judged in curves.items() for point in reliability(judged)]
    with (folder / "reliability.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("curve", "probability", "right", "weight"))
        writer.writerows((name, *(f"{value:.4f}" for value in point)) for name, *point in rows)
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for name in curves:
        points = [point for curve, *point in rows if curve == name]
        axes.plot([p[0] for p in points], [p[1] for p in points], "o-", markersize=3, label=name)
    axes.set(
        xlabel="probability of an object", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1)
    )
    axes.legend(loc="upper left")
    figure.savefig(folder / "reliability.png", dpi=100)
