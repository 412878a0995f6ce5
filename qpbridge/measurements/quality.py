"""How much of a region can't be tissue, or not be judged: what `segment` tells of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

EMPTY = "Quality: Empty %"
FILL = "Quality: Black fill %"
INK = "Quality: Ink %"
BLURRED = "Quality: Out of focus %"
SEARCHED = "Quality: Searched %"

DEFINITIONS: Mapping[str, str] = {
    EMPTY: "Share of the region that is glass; it is searched, and part of the evaluated area.",
    FILL: "Share of the region that is black fill: no light went through; not evaluated.",
    INK: "Share of the region under ink, or dark without any texture; not evaluated.",
    BLURRED: "Share of what is neither glass, fill nor ink that is out of focus; it is searched.",
    SEARCHED: "Share of the region that was searched: without black fill and ink.",
}

WARN_FROM: Mapping[str, tuple[float, str]] = {
    EMPTY: (75.0, "empty"),
    FILL: (5.0, "black fill"),
    INK: (2.0, "ink"),
    BLURRED: (20.0, "out of focus; what is found there is not to be trusted"),
}
"""From how many % on a person is told, and as what."""

NO_TISSUE = (FILL, INK)
"""What is left out, unless somebody wants it searched."""


def warnings(region: str, measured: Mapping[str, float]) -> Iterator[str]:
    """Yield what a person should know of a region, from what was measured of it."""
    for name, (least, text) in WARN_FROM.items():
        if measured.get(name, 0.0) >= least:
            done = _done(measured) if name in NO_TISSUE else ""
            yield f"{measured[name]:.0f} % of {region!r} is {text}{done}"


def _done(measured: Mapping[str, float]) -> str:
    """Say what became of what can't be tissue: a run notes how much it searched."""
    if SEARCHED not in measured:
        return ""
    return ", and was left out" if measured[SEARCHED] < 100 else ", and was searched all the same"
