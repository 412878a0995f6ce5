"""What type checkers know of the methods that `qpbridge._table_methods` attaches to tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd


class ImageLike(Protocol):
    """An image of a project, as far as tables ask for it: see `qpbridge.ImageEntry`."""

    id: str
    name: str
    server: Any


class TableMethods:
    """Declares them, and has none: `qpbridge.objects` imports nothing of tables."""

    if TYPE_CHECKING:

        def to_pandas(
            self,
            *,
            image: str | ImageLike | None = None,
            mpp: tuple[float, float] | None = None,
            rows: npt.ArrayLike | None = None,
        ) -> pd.DataFrame: ...

        def to_geodataframe(
            self,
            *,
            image: str | ImageLike | None = None,
            mpp: tuple[float, float] | None = None,
            rows: npt.ArrayLike | None = None,
        ) -> Any: ...

        def to_anndata(
            self,
            *,
            image: str | ImageLike | None = None,
            mpp: tuple[float, float] | None = None,
            rows: npt.ArrayLike | None = None,
        ) -> Any: ...
