"""Compare what is found by tiles of several sizes with what is found on the whole picture.

python benchmarks/seams.py SLIDE [SIDE...]

Prints JSON: for each side of the tiles (with one, two and three tiles per batch in turn) how many
nuclei there are, the share that has a counterpart of an IoU over 0.95 on the whole picture, how
many lie on one another (doubled), and how many have a straight edge longer than 8 pixels along x or
y (cut), beside the whole picture's own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import shapely

from qpbridge import ObjectKind, open_project
from qpbridge.objects import GeometryArray, Shapes

WHOLE = 2**14


def find(slide: Path, tile: int, batch: int) -> Shapes:
    with tempfile.TemporaryDirectory() as scratch:
        project = str(Path(scratch) / "project.qpproj")
        options = ["--tile", str(tile), "--batch-size", str(batch), "--workers", str(batch)]
        for command in (["create", project, str(slide), "--annotate-full"], ["segment", project]):
            more = options if command[0] == "segment" else []
            subprocess.run(
                [sys.executable, "-m", "qpbridge", *command, *more], check=True, capture_output=True
            )
        table = open_project(Path(project)).images[0].read().objects
        return table.take(np.flatnonzero(table.kind == ObjectKind.DETECTION)).shapes


def overlaps(one: GeometryArray, other: GeometryArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs that meet, and the IoU of each."""
    left, right = shapely.STRtree(other).query(one, predicate="intersects")
    shared = shapely.area(shapely.intersection(one[left], other[right]))
    return left, right, shared / (shapely.area(one)[left] + shapely.area(other)[right] - shared)


def cut(shapes: Shapes, longest: float = 8.0) -> int:
    """Count outlines with a long edge exactly along x or y."""
    step = np.abs(np.diff(shapes.coords, axis=0))
    straight = (step.min(axis=1) == 0) & (step.max(axis=1) > longest)
    straight[shapes.rings[1:-1] - 1] = False  # from one ring to the next
    return len(np.unique(np.searchsorted(shapes.rings, np.flatnonzero(straight), "right")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slide", type=Path)
    parser.add_argument("sides", type=int, nargs="*", default=[256, 512, 1024])
    arguments = parser.parse_args()
    whole = find(arguments.slide, WHOLE, 1)
    result = {"whole": {"nuclei": len(whole), "cut": cut(whole)}}
    for number, side in enumerate(arguments.sides):
        found = find(arguments.slide, side, number % 3 + 1)
        mine, _, iou = overlaps(found.geometries, whole.geometries)
        first, second, own = overlaps(found.geometries, found.geometries)
        result[str(side)] = {
            "nuclei": len(found),
            "same": len(np.unique(mine[iou > 0.95])) / len(found),
            "doubled": int(((first < second) & (own > 0.25)).sum()),
            "cut": cut(found),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
