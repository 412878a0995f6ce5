"""The learning curve as a picture."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd


def draw_curve(table: Path, folder: Path) -> bool:
    """Put the table of a run, and a picture of it, into a folder: curve.csv and curve.png.

    Parameters
    ----------
    table
        As `qpbridge.training.loop.train` writes it.
    folder
        Where to.

    Returns
    -------
    drawn
        False where matplotlib is not installed: then there is only the table.
    """
    if not table.is_file():  # fewer steps than make a row
        return False
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(table, folder / "curve.csv")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    rows = pd.read_csv(table)
    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.subplots()
    for name in rows.columns.drop(["step", "minutes", "learning_rate", "score"]):
        smooth = rows[name].rolling(max(len(rows) // 100, 1), min_periods=1).mean()
        left.plot(rows["step"], smooth, label=name, linewidth=1)
    left.set(xlabel="step", ylabel="training loss", ylim=(0, rows["total"].quantile(0.98)))
    left.legend(loc="upper right")
    scored = rows.dropna(subset="score")
    if len(scored):
        right = left.twinx()
        right.plot(scored["step"], scored["score"], "ko-", markersize=3)
        right.set(ylabel="score on the validation images")
    figure.savefig(folder / "curve.png", dpi=100)
    return True
