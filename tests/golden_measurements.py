"""Values that a real QuPath computed, and the objects that it computed them for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
import shapely.geometry
from PIL import Image

from qpbridge.objects import RoiKind, Shapes, concatenate_shapes


@dataclass(frozen=True)
class Golden:
    """One case.

    Parameters
    ----------
    mpp
        µm per pixel (x, y), None if uncalibrated.
    stains
        As QuPath had them.
    objects
        Its objects with their values; of cells, the cell's own (without the prefix ``Cell:``).
    shapes
        Their regions of interest.
    nuclei
        The nuclei of cells; empty for all else.
    image
        uint8 (h, w, 3).
    """

    mpp: tuple[float, float] | None
    stains: dict[str, Any]
    objects: list[dict[str, Any]]
    shapes: Shapes
    nuclei: Shapes
    image: npt.NDArray[np.uint8]

    def value(self, row: int, name: str) -> float:
        """Return QuPath's value; NaN also where it gave none."""
        found = self.objects[row]["measurements"]
        return float(found.get(name, found.get(f"Cell: {name}", np.nan)))


def read_golden(folder: Path) -> Golden:
    data = json.loads((folder / "measurements.json").read_text())
    features = json.loads((folder / "objects_input.geojson").read_text())["features"]
    geometry = {f["id"]: shapely.geometry.shape(f["geometry"]) for f in features}
    inner = {f["id"]: _shape(f.get("nucleusGeometry")) for f in features}
    calibration = data["calibration"]
    mpp = calibration["pixel_width"], calibration["pixel_height"]
    return Golden(
        None if calibration["unit"] == "px" else mpp,
        data["stains"],
        data["objects"],
        concatenate_shapes([_roi(o["roi"], geometry[o["id"]]) for o in data["objects"]]),
        concatenate_shapes([_roi(o["nucleus_roi"], inner[o["id"]]) for o in data["objects"]]),
        np.asarray(Image.open(folder / "image.png").convert("RGB")),
    )


def _shape(geometry: Any) -> Any:
    return None if geometry is None else shapely.geometry.shape(geometry)


def _roi(kind: str | None, geometry: Any) -> Shapes:
    if kind is None:
        return Shapes.empty(1)
    # QuPath keeps the coordinates of all but ellipses as float32.
    stored = shapely.transform(geometry, lambda xy: xy.astype(np.float32).astype(np.float64))
    if kind == "RectangleROI":
        return Shapes.corners(RoiKind.RECTANGLE, *stored.bounds)
    if kind == "EllipseROI":
        return Shapes.corners(RoiKind.ELLIPSE, *geometry.bounds)
    return Shapes.from_geometries([stored])
