"""All that is measured of nuclei and cells, against a real QuPath's values and against loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from golden_measurements import read_golden

from qpbridge.measurements.color import H_DAB, H_E
from qpbridge.measurements.compartments import compartments
from qpbridge.measurements.nuclei import (
    DEFINITIONS,
    Measuring,
    area_ratio,
    cell_shapes,
    measure_objects,
    measured_names,
)
from qpbridge.measurements.raster import covered_pixels
from qpbridge.measurements.shape import shape_names
from qpbridge.measurements.stored import on_pixels, stored_of_nuclei
from qpbridge.objects import MeasurementTable, RoiKind, Shapes

CASES = {"he_calibrated": H_E, "hdab_calibrated": H_DAB}


@pytest.mark.parametrize("case", CASES)
def test_cells_of_qupath(shared: Path, case: str) -> None:
    """Every value of every cell within 1 %, but for those that rest on another mask.

    QuPath's masks of rectangles and ellipses are rounded to whole pixels first, which is not
    followed here, and the length of its ellipses is in pixels; a pixel of a polygon can differ
    where its centre lies on an edge. The nuclei's intensities are all compared, for no nucleus
    but an ellipse has another mask.
    """
    golden = read_golden(shared / "qupath" / "golden_measurements" / case)
    kinds = [o["type"] for o in golden.objects]
    rows = np.flatnonzero([kind == "PathCellObject" for kind in kinds])
    cells, nuclei = golden.shapes.take(rows), golden.nuclei.take(rows)
    assert golden.mpp is not None
    how = Measuring(golden.mpp, CASES[case])
    names = measured_names(how, cells=True)
    values = measure_objects(golden.image, cells, how, nuclei=nuclei).matrix
    assert values.shape == (len(rows), len(names)) == (15, 13 + 48)

    size = golden.image.shape[:2]
    counts = np.bincount(covered_pixels(cells, size)[0], minlength=len(rows))
    same = counts == [golden.objects[i]["mask"]["pixels"] for i in rows]
    inner = np.bincount(covered_pixels(nuclei, size)[0], minlength=len(rows))
    same &= inner == [golden.objects[i]["mask"].get("nucleus_pixels") or 0 for i in rows]
    assert same.sum() >= 12

    compared = 0
    for column, name in enumerate(names):
        expected = np.array(
            [float(golden.objects[i]["measurements"].get(name, np.nan)) for i in rows]
        )
        usable = np.ones(len(rows), bool) if name.count(":") < 2 else same
        if name.endswith("Length µm"):
            part = nuclei if name.startswith("Nucleus") else cells
            usable = usable & (part.roi != RoiKind.ELLIPSE)
        np.testing.assert_allclose(
            values[usable, column], expected[usable], rtol=0.01, atol=1e-6, err_msg=name
        )
        compared += int(np.isfinite(expected[usable]).sum())
    assert compared > 600


@pytest.mark.parametrize("case", CASES)
def test_detections_of_qupath(shared: Path, case: str) -> None:
    golden = read_golden(shared / "qupath" / "golden_measurements" / case)
    rows = [
        i
        for i, o in enumerate(golden.objects)
        if o["type"] == "PathDetectionObject" and golden.shapes.roi[i] == RoiKind.POLYGON
    ]
    assert golden.mpp is not None
    how = Measuring(golden.mpp, CASES[case])
    shapes = golden.shapes.take(rows)
    values = measure_objects(golden.image, shapes, how).matrix
    counts = np.bincount(covered_pixels(shapes, golden.image.shape[:2])[0], minlength=len(rows))
    same = counts == [golden.objects[i]["mask"]["pixels"] for i in rows]
    assert same.sum() >= len(rows) - 1 > 30
    for column, name in enumerate(measured_names(how)):
        expected = [golden.value(i, name) for i in rows]
        np.testing.assert_allclose(
            values[same, column], np.array(expected)[same], rtol=1e-6, atol=1e-6, err_msg=name
        )


def test_names() -> None:
    plain = Measuring((0.25, 0.25), H_DAB, 2.0)
    assert measured_names(plain)[:7] == (*shape_names((1.0, 1.0)), "Hematoxylin: Mean")
    more = Measuring((0.25, 0.25), H_DAB, 2.0, all_features=True)
    added = measured_names(more)[len(measured_names(plain)) :]
    assert len(added) == 5 + 13 + 2
    assert added[0] == "Equivalent diameter µm"
    assert added[5].startswith("ROI: 0.50 µm per pixel: Hematoxylin: Haralick Angular second")
    of_cells = measured_names(more, cells=True)
    assert of_cells[6:8] == ("Cell: Area µm^2", "Cell: Length µm")
    assert of_cells[12] == "Nucleus/Cell area ratio"
    assert of_cells[13] == "Nucleus: Hematoxylin: Mean"
    assert "Membrane: DAB: Std.Dev." in of_cells
    assert of_cells[-1] == "Nucleus: Chromatin: CV"
    assert "Nucleus: 0.50 µm per pixel: Hematoxylin: Haralick Entropy (F8)" in of_cells
    assert len(set(of_cells)) == len(of_cells)


def random_cells(seed: int, n: int = 12) -> tuple[Shapes, Shapes]:
    """Discs in discs, which overlap here and there and leave the picture of 60 x 50 pixels."""
    rng = np.random.default_rng(seed)
    centres = shapely.points(rng.uniform(0, 1, (n, 2)) * [60, 50])
    radius = rng.uniform(2, 5, n)
    return tuple(  # type: ignore[return-value]
        Shapes.from_geometries(shapely.buffer(centres, radius + more)) for more in (4, 0)
    )


@pytest.mark.parametrize("seed", range(5))
def test_compartments_by_loop(seed: int) -> None:
    cells, nuclei = random_cells(seed)
    size = (50, 60)
    cell, nucleus = covered_pixels(cells, size), covered_pixels(nuclei, size)
    cytoplasm, membrane = compartments(cell, nucleus, size)
    for i in range(len(cells)):
        masks = []
        for owner, pixel in (cell, nucleus):
            mask = np.zeros(size, bool)
            mask.ravel()[pixel[owner == i]] = True
            masks.append(mask)
        mine = cell[0] == i
        at = cell[1][mine]
        inside = np.pad(masks[0], 1, constant_values=True)
        shifted = (inside[1:-1, :-2], inside[1:-1, 2:], inside[:-2, 1:-1], inside[2:, 1:-1])
        edge = masks[0] & ~np.logical_and.reduce(shifted)
        np.testing.assert_array_equal(membrane[mine], edge.ravel()[at])
        np.testing.assert_array_equal(cytoplasm[mine], ~masks[1].ravel()[at])


def test_parts_of_a_cell_add_up() -> None:
    rgb = np.random.default_rng(3).integers(0, 256, (50, 60, 3)).astype(np.uint8)
    cells, nuclei = random_cells(1)
    how = Measuring((0.5, 0.5), H_E, all_features=True)
    named = measure_objects(rgb, cells, how, nuclei=nuclei)
    alone = measure_objects(rgb, nuclei, how)
    for name, column in alone.items():
        ours = named.get(f"Nucleus: {name}", named.get(name.replace("ROI", "Nucleus")))
        np.testing.assert_array_equal(ours, column, err_msg=name)
    pixels = [
        np.bincount(covered_pixels(s, (50, 60))[0], minlength=len(cells)) for s in (nuclei, cells)
    ]
    total = named["Nucleus: Eosin: Mean"] * pixels[0]
    total += named["Cytoplasm: Eosin: Mean"] * (pixels[1] - pixels[0])
    np.testing.assert_allclose(total, named["Cell: Eosin: Mean"] * pixels[1], rtol=1e-6)
    assert (named["Nucleus/Cell area ratio"] < 1).all()
    again = cell_shapes(cells, nuclei, how.mpp)
    assert again.names[0] == "Cell: Area µm^2" and again.names[-1] == "Nucleus/Cell area ratio"
    for name, column in again.items():
        np.testing.assert_array_equal(column, named[name])


def test_the_window_changes_nothing() -> None:
    rgb = np.random.default_rng(4).integers(0, 256, (80, 90, 3)).astype(np.uint8)
    lines = shapely.linestrings([[[60, 70], [64, 72]], [[90, 80], [93, 74]]])
    cells, nuclei = (Shapes.from_geometries(shapely.buffer(lines, r)) for r in (15.0, 8.0))
    how = Measuring((0.25, 0.25), H_E, 2.0, all_features=True)
    whole = measure_objects(rgb, cells, how, nuclei=nuclei).matrix
    part = measure_objects(rgb[20:, 15:], cells, how, nuclei=nuclei, corner=(15, 20)).matrix
    np.testing.assert_array_equal(whole, part)
    assert np.isfinite(whole).all()


@pytest.mark.parametrize("all_features", [False, True])
def test_no_objects_and_cells_without_nucleus(all_features: bool) -> None:
    rgb = np.zeros((20, 20, 3), np.uint8)
    how = Measuring((0.5, 0.5), H_E, all_features=all_features)
    assert measure_objects(rgb, Shapes.empty(), how).matrix.shape == (0, len(measured_names(how)))
    names = measured_names(how, cells=True)
    none = measure_objects(rgb, Shapes.empty(), how, nuclei=Shapes.empty()).matrix
    assert none.shape == (0, len(names))
    cell = Shapes.from_geometries([shapely.box(2, 2, 9, 9)])
    values = measure_objects(rgb, cell, how, nuclei=Shapes.empty(1))
    assert all(np.isnan(v[0]) == n.startswith("Nucleus") for n, v in values.items())
    assert values["Cell: Area µm^2"] == pytest.approx(49 / 4)


def test_nuclei_of_cells_and_nuclei_on_their_own_are_one_column() -> None:
    names = ("Area µm^2", "Cell: Area µm^2", "Nucleus: Area µm^2", "Nucleus/Cell area ratio")
    values = np.array([[1, np.nan, np.nan, np.nan], [np.nan, 9, 4, 0.5]])
    columns = stored_of_nuclei(MeasurementTable(names, values))
    assert {name: column.tolist() for name, column in columns.items()} == {"Area µm^2": [1, 4]}


def test_what_rests_on_pixels_is_known_by_its_name() -> None:
    how = Measuring((0.3, 0.3), H_DAB, 2.0, all_features=True)
    names = (*measured_names(how, cells=True), "my score", "Other: Mean: 2", "Smoothed: 25 µm: a")
    table = stored_of_nuclei(MeasurementTable(names, np.ones((1, len(names)))))
    expected = ["Hematoxylin: Mean", "Hematoxylin: Variance", "DAB: Mean", "DAB: Variance"]
    kept = list(on_pixels(table))
    assert kept[:4] == expected
    assert all(name.startswith(("0.60 µm per pixel: Hematoxylin: H", "Chro")) for name in kept[4:])
    assert len(kept) == 4 + 13 + 2


def test_the_ratio_by_hand() -> None:
    nuclei = np.array([shapely.box(2, 2, 4, 4), shapely.Polygon()], object)
    cells = np.array([shapely.box(0, 0, 4, 5), shapely.Polygon()], object)
    np.testing.assert_array_equal(area_ratio(nuclei, cells), [0.2, np.nan])
    assert list(DEFINITIONS) == ["Nucleus/Cell area ratio"]
