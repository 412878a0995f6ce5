"""Outlines that lie: mutations of the geometry of GeoJSON files.

By hand, for longer::

    PYTHONPATH=.:tests python -m project.geojson.fuzz_geometry FIRST COUNT
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from project.processes import Trouble, fuzz_by_hand, run_guarded

from qpbridge.errors import FormatError, OutlineError
from qpbridge.measurements.shape import shape_measurements
from qpbridge.outlines import ENCLOSING, valid_areas
from qpbridge.project.geojson import write_geojson
from qpbridge.project.geojson.read import salvage_geojson

KINDS = ("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "X")
NUMBERS = (0, -0.0, 1, 0.004, 1e-300, -1e12, 1e12, 1e308, 2**70, "1", None, True, [], float("nan"))


def outline(choose: random.Random) -> list[list[Any]]:
    """A closed ring: round, at random, back and forth, a comb, a star, or along pixels."""
    n = choose.choice((3, 4, 5, 12, 40, 200, 1000, 4000))
    numbers = np.random.default_rng(choose.randrange(2**32))
    i = np.arange(n)
    angle = 2 * np.pi * i / n
    way = choose.randrange(7)
    if way == 0:
        xy = np.stack([np.cos(angle), np.sin(angle)], axis=1) * 50
    elif way == 1:
        xy = numbers.random((n, 2)) * 100
    elif way == 2:
        xy = np.stack([i, i % 2 * 100.0], axis=1)
    elif way == 3:
        xy = np.stack([i / 100 + i % 2 * 1000, i % 2 * 1000 - i / 100], axis=1)
    elif way == 4:
        step = choose.choice((2, 3, n // 2 + 1))
        xy = np.stack([np.cos(angle * step), np.sin(angle * step)], axis=1) * 50
    elif way == 5:
        xy = numbers.integers(-1, 2, (n, 2)).cumsum(axis=0).astype(float)
    else:
        xy = np.repeat(numbers.random((n // 3 + 1, 2)) * 100, 3, axis=0)
    xy = xy * choose.choice((1, 1, 1, 1e-3, 1e6)) + choose.choice((0, 0, 500, -1e9))
    ring = xy.round(choose.choice((2, 2, 0, 6))).tolist()
    return [*ring, ring[0]] if choose.random() < 0.9 else ring


def geometry(choose: random.Random) -> dict[str, Any]:
    """A geometry that often is what it says."""
    rings = [outline(choose) for _ in range(choose.choice((1, 1, 1, 2, 5)))]
    kind = choose.choice(("Polygon", "Polygon", "MultiPolygon", *KINDS))
    coordinates: Any = {
        "Polygon": rings,
        "MultiPolygon": [[ring] for ring in rings],
        "LineString": rings[0],
        "MultiLineString": rings,
        "Point": rings[0][0],
        "MultiPoint": rings[0],
    }.get(kind, rings)
    for _ in range(choose.choice((0, 0, 0, 1, 2))):
        where = coordinates
        while isinstance(where, list) and where and choose.random() < 0.7:
            at = choose.randrange(len(where))
            if not isinstance(where[at], list):
                break
            where = where[at]
        if isinstance(where, list) and where:
            value = choose.choice(
                (*NUMBERS, where[0], coordinates if where is not coordinates else 1)
            )
            where[choose.randrange(len(where))] = json.loads(json.dumps(value))
    found = {"type": kind, "coordinates": coordinates}
    if choose.random() < 0.1:
        found["isEllipse"] = True
    return found


def check(folder: Path, seed: int) -> bool:
    """Use a file as `import`, `measure` and `export` do."""
    choose = random.Random(seed)
    features = [
        {"type": "Feature", "geometry": geometry(choose), "properties": {"objectType": "cell"}}
        for _ in range(choose.choice((1, 2, 5)))
    ]
    if choose.random() < 0.5:
        for feature in features:
            feature["nucleusGeometry"] = geometry(choose)
    path = folder / "a.geojson"
    path.write_text(json.dumps(features))
    try:
        found = salvage_geojson(path)
    except FormatError as error:
        assert str(path) in str(error)
        return False
    objects = found.objects
    assert len(objects) + found.left_out.count == len(features)
    # What is read is fine, for all that follows.
    area = np.isin(objects.shapes.roi, ENCLOSING)
    assert shapely.is_valid(objects.geometries[area]).all()
    assert shapely.is_valid(valid_areas(objects.geometries[area])).all()
    shape_measurements(objects.shapes, (0.5, 0.5))
    done = write_geojson(objects, folder / "b.geojson")
    assert done.objects == len(objects) and not done.repaired
    _use_unread(features, folder)
    return True


def _use_unread(features: list[dict[str, Any]], folder: Path) -> None:
    """Do with outlines as they are in the file what is done with those of a project."""
    for feature in features:
        if feature["geometry"]["type"] != "Polygon":
            continue
        try:
            area = shapely.Polygon(*_rings(feature["geometry"]["coordinates"]))
        except (TypeError, ValueError, shapely.errors.ShapelyError):
            continue
        if np.isfinite(shapely.get_coordinates(area)).all():
            for use in (valid_areas, lambda areas: shape_measurements(areas, (0.5, 0.4))):
                try:
                    use(np.array([area], object))
                except OutlineError as error:
                    assert "too often" in str(error)


def _rings(coordinates: Any) -> tuple[Any, Any]:
    rings = [np.array(ring, np.float64) for ring in coordinates]
    return rings[0], rings[1:]


def fuzz(folder: Path, first: int, count: int) -> tuple[int, list[Trouble]]:
    """Check `count` files; returns how many could be read."""
    return run_guarded(lambda seed: check(folder, seed), range(first, first + count))


if __name__ == "__main__":
    fuzz_by_hand(fuzz)
