"""`ObjectTable.to_pandas` and its kin, for scripts: attached here, and nowhere else.

`qpbridge.objects` is the vocabulary and knows nothing of tables. These methods are the functions of
`qpbridge.tables.frames`, which imports pandas: only when they are called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from qpbridge._table_types import ImageLike
from qpbridge.objects import ObjectTable

if TYPE_CHECKING:
    import pandas as pd


def to_pandas(
    self: ObjectTable,
    *,
    image: str | ImageLike | None = None,
    mpp: tuple[float, float] | None = None,
    rows: npt.ArrayLike | None = None,
) -> pd.DataFrame:
    """Make a pandas DataFrame in QuPath's export columns, and the parents' ids.

    Parameters
    ----------
    image
        The image, which also has its entry id, path and pixel size, or its name; None: no column
        for it.
    mpp
        µm per pixel (x, y), as `ImageEntry.server.mpp` has it; None: that of `image`, or else
        centroids and sizes in pixels.
    rows
        Index or mask of the objects to describe; None: all.

    Returns
    -------
    pandas.DataFrame
        One row for each object. Missing texts are None, missing numbers NaN (``Int64`` columns:
        NA).

    Examples
    --------
    >>> image = project["1"]
    >>> frame = image.read().objects.to_pandas(image=image)
    >>> (frame["Classification"] == "Nucleus").sum().item() > 10
    True
    """
    from qpbridge.tables.frames import to_pandas

    return to_pandas(self, image=image, mpp=mpp, rows=rows)


def to_geodataframe(
    self: ObjectTable,
    *,
    image: str | ImageLike | None = None,
    mpp: tuple[float, float] | None = None,
    rows: npt.ArrayLike | None = None,
) -> Any:
    """Make a GeoPandas GeoDataFrame: `to_pandas` with the outlines, in full-resolution pixels.

    Parameters are those of `to_pandas`.

    Raises
    ------
    MissingExtraError
        Without geopandas.
    """
    from qpbridge.tables.frames import to_geodataframe

    return to_geodataframe(self, image=image, mpp=mpp, rows=rows)


def to_anndata(
    self: ObjectTable,
    *,
    image: str | ImageLike | None = None,
    mpp: tuple[float, float] | None = None,
    rows: npt.ArrayLike | None = None,
) -> Any:
    """Make an AnnData object, as scanpy and squidpy take it.

    Parameters are those of `to_pandas`; without `rows` it has all detections and cells, but not the
    annotations among them.

    Returns
    -------
    anndata.AnnData
        ``X``: the measurements that these have; ``obs``: the other columns of `to_pandas`, by
        object id; ``obsm["spatial"]``: centroids.

    Raises
    ------
    MissingExtraError
        Without anndata.
    """
    from qpbridge.tables.frames import to_anndata

    return to_anndata(self, image=image, mpp=mpp, rows=rows)


for _method in (to_pandas, to_geodataframe, to_anndata):
    setattr(ObjectTable, _method.__name__, _method)
