"""What else is done with nuclei, besides finding them."""

from __future__ import annotations

from dataclasses import dataclass

from qpbridge import checks

MAX_EXPANSION = 25.0
"""µm; no cell of a section reaches further beyond its nucleus."""


@dataclass(frozen=True)
class NucleusOptions:
    """What else is done with nuclei; for no other target.

    Parameters
    ----------
    cell_expansion
        How far, in µm, nuclei are grown into cells; None: they stay nuclei.
    positivity
        One or three thresholds, ascending, for the mean optical density of DAB in a nucleus: it
        is Negative below the first, Positive above, or 1+, 2+, 3+. Empty: not classified so.
    all_features
        Measure more of each nucleus: see `qpbridge.measurements.nuclei.Measuring`.
    """

    cell_expansion: float | None = None
    positivity: tuple[float, ...] = ()
    all_features: bool = False

    def __post_init__(self) -> None:
        if self.cell_expansion is not None:
            what = f"µm, above 0 and up to {MAX_EXPANSION:g}"
            checks.number("cell_expansion", self.cell_expansion, what, above=0, most=MAX_EXPANSION)
        object.__setattr__(self, "positivity", checks.thresholds("positivity", self.positivity))
        checks.flag("all_features", self.all_features)
