"""What else is done with nuclei, besides finding them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from qpbridge import checks

MAX_EXPANSION = 25.0
"""µm; no cell of a section reaches further beyond its nucleus."""

NONE = "none"
"""Stands for what is not done, in texts."""


@dataclass(frozen=True)
class NucleusOptions:
    """What else is done with nuclei; for no other target.

    Of whatever is None nothing is said: it is done as the run before did it, or else not at all.

    Parameters
    ----------
    cell_expansion
        How far, in µm, nuclei are grown into cells; 0: they stay nuclei.
    positivity
        One or three thresholds, ascending, for the mean optical density of DAB in a nucleus: it
        is Negative below the first, Positive above, or 1+, 2+, 3+. Empty: not classified so.
    all_features
        Measure more of each nucleus: see `qpbridge.measurements.nuclei.Measuring`.
    """

    cell_expansion: float | None = None
    positivity: tuple[float, ...] | None = None
    all_features: bool | None = None

    def __post_init__(self) -> None:
        if self.cell_expansion is not None:
            what = f"µm, from 0 (they stay nuclei) to {MAX_EXPANSION:g}"
            checks.number("cell_expansion", self.cell_expansion, what, least=0, most=MAX_EXPANSION)
        if self.positivity is not None:
            object.__setattr__(self, "positivity", checks.thresholds("positivity", self.positivity))
        if self.all_features is not None:
            checks.flag("all_features", self.all_features)

    def over(self, before: NucleusOptions) -> NucleusOptions:
        """Take from the run before what is not said here."""
        return NucleusOptions(
            before.cell_expansion if self.cell_expansion is None else self.cell_expansion,
            before.positivity if self.positivity is None else self.positivity,
            before.all_features if self.all_features is None else self.all_features,
        )

    def described(self) -> dict[str, str]:
        """Return all of it as texts by name, for people and for `of`."""
        thresholds = " ".join(f"{value:g}" for value in self.positivity or ())
        return {
            "cell expansion": f"{self.cell_expansion:g} µm" if self.cell_expansion else NONE,
            "positivity": thresholds or NONE,
            "features": "all" if self.all_features else "basic",
        }

    @classmethod
    def of(cls, settings: Mapping[str, str]) -> Self:
        """Read what `described` wrote; what is not there, or makes no sense, is not said."""
        expansion = settings.get("cell expansion", "").removesuffix(" µm").replace(NONE, "0")
        positivity = settings.get("positivity", "").replace(NONE, "")
        try:
            return cls(
                float(expansion) if expansion else None,
                tuple(map(float, positivity.split())) if "positivity" in settings else None,
                settings["features"] == "all" if "features" in settings else None,
            )
        except ValueError:
            return cls()
