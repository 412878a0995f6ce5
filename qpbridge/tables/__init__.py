"""Objects as tables: QuPath's export columns, as files for a whole cohort and as data frames."""

from __future__ import annotations

from qpbridge.tables.frames import to_anndata, to_geodataframe, to_pandas

__all__ = ["to_anndata", "to_geodataframe", "to_pandas"]
