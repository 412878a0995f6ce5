"""Time all scores of one image with many nuclei; prints JSON."""

from __future__ import annotations

import json
import time

import click
import numpy as np

from qpbridge.evaluation import image_scores


def nuclei(size: int, count: int, seed: int) -> np.ndarray:
    """Scatter discs of 5 to 12 pixels, int32 (size, size)."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((size, size), np.int32)
    for number, (y, x) in enumerate(rng.uniform(0, size, (count, 2)), 1):
        radius = rng.uniform(5, 12)
        top, left = max(int(y - radius), 0), max(int(x - radius), 0)
        rows, columns = np.ogrid[top : int(y + radius) + 1, left : int(x + radius) + 1]
        part = labels[top : int(y + radius) + 1, left : int(x + radius) + 1]
        disc = np.hypot(rows[: part.shape[0]] - y, columns[:, : part.shape[1]] - x) < radius
        part[disc] = number
    return labels


@click.command()
@click.option("--size", default=1000, show_default=True)
@click.option("--objects", default=1000, show_default=True)
@click.option("--runs", default=5, show_default=True)
def main(size: int, objects: int, runs: int) -> None:
    """Compare shifted nuclei, and nuclei that have nothing to do with one another."""
    truth = nuclei(size, objects, 1)
    result: dict[str, float] = {"size": size, "objects": objects}
    level = np.random.default_rng(0).random(truth.shape).astype(np.float32)
    for name, prediction in (
        ("shifted", np.roll(truth, 3, axis=1)),
        ("unrelated", nuclei(size, objects, 2)),
        ("half missing", np.where(truth % 2, truth, 0)),
    ):
        seconds = []
        for _ in range(runs):
            began = time.perf_counter()
            image_scores(truth, prediction, level)
            seconds.append(time.perf_counter() - began)
        result[f"{name} s"] = round(float(np.median(seconds)), 4)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
