"""Data frames and AnnData of objects."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import shapely

from qpbridge.errors import MissingExtraError
from qpbridge.objects import MeasurementTable, ObjectKind, ObjectTable, Shapes, concatenate_shapes


@pytest.fixture
def table() -> ObjectTable:
    geometries = [shapely.box(0, 0, 10, 10), shapely.box(2, 2, 4, 6), shapely.box(6, 6, 8, 8)]
    shapes = concatenate_shapes([Shapes.from_geometries(geometries), Shapes.empty(1)])
    return ObjectTable.new(ObjectKind.DETECTION, shapes).replace(
        kind=np.array([0, 1, 1, 1], np.uint8),
        parent=np.array([-1, 0, 0, -1]),
        names={0: "region"},
        measured=MeasurementTable(
            ("a", "b"), np.array([[np.nan, np.nan], [1, 2], [3, 4], [5, np.nan]])
        ),
    )


def test_pandas(table):
    frame = table.to_pandas(image="i", mpp=(0.5, 0.25))
    assert list(frame) == [
        *("Image", "Object ID", "Object type", "Name", "Classification", "Parent", "Parent ID"),
        *("ROI", "Centroid X µm", "Centroid Y µm", "Area µm^2", "Perimeter µm"),
        *("Num Detections", "a", "b"),
    ]
    assert frame["Parent ID"].tolist() == [None, frame["Object ID"][0], frame["Object ID"][0], None]
    assert frame["Centroid Y µm"].tolist()[:3] == [1.25, 1, 1.75]
    assert frame["Centroid Y µm"].isna().tolist() == [False] * 3 + [True]
    assert frame["Num Detections"].dtype == "Int64"
    assert frame["Num Detections"].isna().tolist() == [False, True, True, True]
    assert frame["a"].tolist()[1:] == [1, 3, 5]
    assert frame.groupby("Parent")["a"].mean()["region"] == 2


def test_some_rows(table):
    frame = table.to_pandas(rows=table.kind == ObjectKind.DETECTION)
    assert "Num Detections" not in frame
    assert frame["Parent"].tolist() == ["region", "region", "Root object (Image)"]
    assert frame["Parent ID"].tolist() == [str(table.uuid(0))] * 2 + [None]


def test_no_rows(table):
    assert len(table.to_pandas(rows=[])) == 0
    assert len(table.to_pandas(rows=np.zeros(4, bool))) == 0


def made(**arguments):
    return SimpleNamespace(**arguments)


def test_anndata(table, monkeypatch):
    """What AnnData is made from; with the real one below."""
    monkeypatch.setitem(sys.modules, "anndata", SimpleNamespace(AnnData=made))
    found = table.to_anndata(mpp=(0.5, 0.5), rows=[1, 2])
    assert found.X.tolist() == [[1, 2], [3, 4]]
    assert found.var.index.tolist() == ["a", "b"]
    assert found.obs.index.tolist() == [str(table.uuid(1)), str(table.uuid(2))]
    assert found.obs["Parent"].tolist() == ["region", "region"]
    assert not {"a", "b"} & set(found.obs)
    assert found.obsm["spatial"].tolist() == [[1.5, 2], [3.5, 3.5]]


def test_geodataframe(table, monkeypatch):
    def frame(data: pd.DataFrame, geometry: np.ndarray) -> pd.DataFrame:
        return data.assign(geometry=geometry)

    monkeypatch.setitem(sys.modules, "geopandas", SimpleNamespace(GeoDataFrame=frame))
    found = table.to_geodataframe(rows=table.kind == ObjectKind.DETECTION)
    assert found["geometry"][0].equals(shapely.box(2, 2, 4, 6))
    assert found["geometry"][2] is None
    assert found["Centroid X px"].tolist()[:2] == [3, 7]


def test_with_the_real_packages(table, tmp_path):
    anndata = pytest.importorskip("anndata")
    table.to_anndata().write_h5ad(tmp_path / "t.h5ad")
    assert anndata.read_h5ad(tmp_path / "t.h5ad").obsm["spatial"].shape == (3, 2)


def test_with_the_real_geopandas(table):
    pytest.importorskip("geopandas")
    assert table.to_geodataframe().geometry.area.tolist()[:3] == [100, 8, 4]


@pytest.mark.parametrize(
    ("method", "package", "extra"),
    [("to_anndata", "anndata", "anndata"), ("to_geodataframe", "geopandas", "geo")],
)
def test_without_the_package(table, monkeypatch, method, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package}.*pip install 'qpbridge\[{extra}\]'"):
        getattr(table, method)()
