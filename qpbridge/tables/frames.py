"""Objects for scripts: as pandas and GeoPandas data frames, and as AnnData."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from qpbridge import checks
from qpbridge._table_types import ImageLike
from qpbridge.errors import RequestError, require_extra
from qpbridge.objects import ObjectKind, ObjectTable
from qpbridge.project.interface import ImageEntry
from qpbridge.tables.column_types import Column, Numbers, Texts
from qpbridge.tables.columns import IMAGE, as_index, object_columns, parent_ids, with_identity


def to_pandas(
    table: ObjectTable,
    *,
    image: str | ImageLike | None = None,
    mpp: tuple[float, float] | None = None,
    rows: npt.ArrayLike | None = None,
) -> pd.DataFrame:
    """Make a data frame in QuPath's export columns, and the parents' ids.

    Parameters
    ----------
    table
        All objects of an image.
    image
        The image, which also has its entry id, path and pixel size, or its name; None: no column
        for it.
    mpp
        µm per pixel (x, y), as `ImageEntry.server.mpp` has it; None: that of `image`, or else
        centroids and sizes in pixels.
    rows
        Index or mask of the objects to describe, None for all.

    Returns
    -------
    pandas.DataFrame
        One row for each object. Missing texts are None, missing numbers NaN (``Int64`` columns:
        NA).

    Raises
    ------
    RequestError
        If `mpp` is no size of a pixel, or `rows` are not there.
    """
    name, size = _image(image, mpp)
    columns = object_columns(table, name or "", size, rows)
    if isinstance(image, ImageEntry):
        columns = with_identity(columns, image)
    elif image is None:
        del columns[IMAGE]
    series = {}
    for name, column in columns.items():
        series[name] = _series(column)
        if name == "Parent":
            series["Parent ID"] = _series(parent_ids(table, rows))
    return pd.DataFrame(series)


def to_geodataframe(
    table: ObjectTable,
    *,
    image: str | ImageLike | None = None,
    mpp: tuple[float, float] | None = None,
    rows: npt.ArrayLike | None = None,
) -> Any:
    """Make a GeoPandas data frame: `to_pandas` with the outlines, in full-resolution pixels.

    Raises
    ------
    MissingExtraError
        Without geopandas.
    """
    geopandas = require_extra("geopandas", "geo", "GeoDataFrames")
    shapes = table.shapes if rows is None else table.shapes.take(rows)
    frame = to_pandas(table, image=image, mpp=mpp, rows=rows)
    return geopandas.GeoDataFrame(frame, geometry=shapes.geometries)


def to_anndata(
    table: ObjectTable,
    *,
    image: str | ImageLike | None = None,
    mpp: tuple[float, float] | None = None,
    rows: npt.ArrayLike | None = None,
) -> Any:
    """Make an AnnData object of cells, as scanpy and squidpy take it.

    Parameters
    ----------
    table, image, mpp
        As for `to_pandas`.
    rows
        Index or mask of the objects to describe; None: all detections and cells, not the
        annotations among them.

    Returns
    -------
    anndata.AnnData
        ``X``: the measurements that any of them has, float64 (n, k), NaN where there is none;
        ``obs``: the other columns of `to_pandas`, by object id; ``obsm["spatial"]``: centroids,
        float64 (n, 2), in µm, or in pixels where their size is not known.

    Raises
    ------
    MissingExtraError
        Without anndata.
    RequestError
        If `mpp` is no size of a pixel, or `rows` are not there.
    """
    anndata = require_extra("anndata", "anndata", "AnnData objects")
    if rows is None:
        rows = np.isin(table.kind, (ObjectKind.DETECTION, ObjectKind.CELL))
    frame = to_pandas(table, image=image, mpp=mpp, rows=rows).set_index("Object ID")
    measured = table.measured.take(as_index(table, rows))
    there = measured.select([n for n in measured if not np.isnan(measured[n]).all()])
    described = frame.drop(columns=list(measured), errors="ignore")
    for name in described.select_dtypes(object).columns:
        # categories, since files take no missing texts, and of objects, which they take as names
        words = pd.Index(described[name].dropna().unique(), dtype=object)
        described[name] = pd.Categorical(described[name], categories=words)
    spatial = [
        f"Centroid {axis} {'px' if _image(image, mpp)[1] is None else 'µm'}" for axis in "XY"
    ]
    return anndata.AnnData(
        X=there.matrix,
        obs=described,
        var=pd.DataFrame(index=pd.Index(there.names, dtype=object)),
        obsm={"spatial": frame[spatial].to_numpy()},
    )


def _image(image: object, mpp: object) -> tuple[str | None, tuple[float, float] | None]:
    """Take the name and the pixel size of an image."""
    if isinstance(image, ImageEntry):
        return image.name, image.server.mpp if mpp is None else _checked(mpp)
    if image is not None:
        checks.instance("image", image, str, "an image of a project, or its name,")
    return image, _checked(mpp)  # type: ignore[return-value]


def _checked(mpp: object) -> tuple[float, float] | None:
    """Refuse what can't be the size of a pixel."""
    if mpp is None:
        return None
    what = "µm per pixel (x, y), two numbers above 0"
    if not isinstance(mpp, tuple | list) or len(mpp) != 2:
        raise RequestError("mpp", mpp, f"expected {what}")
    x, y = (checks.number("mpp", one, what, above=0, most=1e9) for one in mpp)
    return x, y


def _series(column: Column) -> Any:
    values = column.values()
    if isinstance(values, Texts):
        labels = np.array([*values.labels, None], dtype=object)
        return pd.Series(labels[values.codes], dtype=object)
    if not isinstance(values, Numbers):
        return pd.Series(values.astype(str).tolist(), dtype=object)
    if not values.absent.any():
        return values.values
    if column.kind == "int":
        return pd.arrays.IntegerArray(values.values, values.absent)
    return np.where(values.absent, np.nan, values.values)
