"""Projects that a real QuPath wrote: segment in them, and everything else is as before."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from cli_helpers import objects_of

from qpbridge import open_project
from qpbridge.hierarchy.provenance import Origin, origins
from qpbridge.measurements.definitions import find


@pytest.fixture(params=["v0.3.2/attrs", "v0.5.1/cells", "v0.6.0/attrs", "v0.6.0/tma"])
def golden(request, shared, tmp_path):
    """A copy that moved together with its images."""
    golden = shared / "qupath" / "golden"
    shutil.copytree(golden / "images", tmp_path / "images")
    shutil.copytree(golden / request.param, tmp_path / request.param)
    return tmp_path / request.param / "project" / "project.qpproj"


def described(table, rows):
    """All of some objects, by id, but for what a run notes on the annotations."""
    return {
        str(table.uuid(row)): (
            table.kind[row],
            table.geometries[row].wkt,
            str(table.path_class(row)),
            table.names.get(row),
            table.colors.get(row),
            bool(table.locked[row]),
            tuple(table.plane[row]),
            {k: v for k, v in table.metadata.get(row, {}).items() if not k.startswith("qpbridge")},
            str(table.uuid(table.parent[row])) if table.parent[row] >= 0 else None,
            {
                name: value
                for name, value in zip(
                    table.measurement_names, table.measurements[row], strict=True
                )
                if not np.isnan(value)
                and not name.startswith(("Nuclei: ", "Evaluated area", "Quality: "))
            },
        )
        for row in rows
    }


def test_what_others_made_is_as_before(qpbridge, golden):
    before = objects_of(golden)
    data_before = open_project(golden).images[0].read()
    report = qpbridge.json("segment", golden, "--mpp", "0.5")["images"][0]
    after = objects_of(golden)
    own = origins(after, "nuclei") == Origin.OURS
    assert own.sum() == report["found"] > 0
    theirs = described(after, np.flatnonzero(~own))
    expected = described(before, range(len(before)))
    if golden.parts[-4].startswith("v0.3"):  # no ids in such files: a new file, new ids
        plain = [v[:-2] for v in theirs.values()]
        assert plain == [v[:-2] for v in expected.values()]
    else:
        assert theirs == expected
    data = open_project(golden).images[0].read()
    assert data.image_type is data_before.image_type
    assert data.stains == data_before.stains
    assert data.workflow[:-1] == data_before.workflow


def test_measuring_changes_measurements_alone(qpbridge, golden):
    before = objects_of(golden)
    options = ("--distances", "--smooth", 25, "--morphometry", "--grading", "liver")
    qpbridge("measure", golden, "--mpp", 0.5, "--whole-image", *options)
    after = objects_of(golden)
    assert len(after) == len(before) > 0
    if not golden.parts[-4].startswith("v0.3"):  # see above
        np.testing.assert_array_equal(after.ids, before.ids)
    for table in (before, after):
        assert (table.parent == before.parent).all()
    np.testing.assert_array_equal(after.kind, before.kind)
    np.testing.assert_array_equal(after.shapes.coords, before.shapes.coords)
    assert dict(after.metadata) == dict(before.metadata)
    for name in before.measurement_names:
        if find(name) is None:
            np.testing.assert_array_equal(after.measurement(name), before.measurement(name))
