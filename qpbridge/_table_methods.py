"""`ObjectTable.to_pandas` and its kin, for scripts: attached here, and nowhere else.

`qpbridge.objects` is the vocabulary and knows nothing of tables. These methods are the functions of
`qpbridge.tables.frames`, which imports pandas: only when they are called.
"""

from __future__ import annotations

from typing import Any

from qpbridge.objects import ObjectTable


def to_pandas(self: ObjectTable, **options: Any) -> Any:
    """Return a pandas DataFrame: see `qpbridge.tables.frames.to_pandas`."""
    from qpbridge.tables.frames import to_pandas

    return to_pandas(self, **options)


def to_geodataframe(self: ObjectTable, **options: Any) -> Any:
    """Return a GeoPandas GeoDataFrame: see `qpbridge.tables.frames.to_geodataframe`."""
    from qpbridge.tables.frames import to_geodataframe

    return to_geodataframe(self, **options)


def to_anndata(self: ObjectTable, **options: Any) -> Any:
    """Return an AnnData object: see `qpbridge.tables.frames.to_anndata`."""
    from qpbridge.tables.frames import to_anndata

    return to_anndata(self, **options)


for _method in (to_pandas, to_geodataframe, to_anndata):
    setattr(ObjectTable, _method.__name__, _method)
