"""A bundle's own README, from its metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from qpbridge.models.bundle import Bundle

SCORES = {
    "aji": "AJI",
    "pq": "PQ",
    "f1": "F1 at IoU 0.5",
    "object_f1": "object F1",
    "object_dice": "object Dice",
    "object_hausdorff": "object Hausdorff, px",
    "dice": "Dice",
    "auc": "AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}
"""Scores that a README shows, in this order, where they were measured."""


def readme(bundle: Bundle, *, curve: bool) -> str:
    """Describe a bundle in Markdown: what for, data and licences, split, scores, time, hardware.

    Parameters
    ----------
    bundle
        With scores in its metadata.
    curve
        Whether docs/curve.png is there to be shown.
    """
    return "\n".join(_lines(bundle, curve)) + "\n"


def _lines(bundle: Bundle, curve: bool) -> Iterator[str]:
    about, run = bundle.metadata, bundle.training
    yield from (f"# {bundle.name}", "", f"{about.get('description', bundle.target)}.", "")
    if bundle.notice:
        yield from (f"**{bundle.notice[:1].upper()}{bundle.notice[1:]}.**", "")
    size = f"{bundle.mpp:g} µm per pixel{' (nominal)' if bundle.nominal_mpp else ''}"
    yield f"- Finds {bundle.target}, at {size}; {run.get('parameters', 0) / 1e6:.2f} M parameters."
    yield f"- Maps: {', '.join(bundle.channels)}; decoder: {bundle.decoder}."
    yield f"- Licence: {bundle.license}."
    yield f"- Commercial use: {'allowed' if bundle.commercial_use else 'not allowed'}."
    if "intended_use" in about:
        yield f"- {about['intended_use']}"
    yield from ("", f"    qpbridge segment project.qpproj --model {bundle.name}", "")

    yield from ("## Data", "")
    yield from ("| set | used for | files | µm/px | licence | source |", "|" + " --- |" * 6)
    parts = [("training", source) for source in bundle.data.get("train", ())]
    parts += [("validation", source) for source in bundle.data.get("validation", ())]
    for use, source in parts:
        yield _source_row(use, source)
    if bundle.data.get("holdout") and bundle.scores:  # of a single patient none can be
        share = f"{bundle.data['holdout']:.0%}"
        yield from ("", f"{share} of the patients were set aside for validation.")
    if "init" in run:
        first = run["init"]
        yield from (
            "",
            f"Training began with the weights of {first['name']} {first['version']}, made in "
            f"{first['minutes']:g} minutes of:",
            "",
        )
        for source in first["data"].get("train", ()):
            title = source.get("title", source["folder"])
            yield f"- {title} ({source.get('licence', 'licence unknown')})"
        if "gain" in first:
            yield ""
        for title, gain in first.get("gain", {}).items():
            yield f"- {title}: {tell_gain(gain)}"

    yield from ("", "## Training", "")
    if run:
        yield (
            f"{run['steps']} steps of {run['batch']} patches of {run['patch']} x {run['patch']} "
            f"pixels in {run['minutes']:g} minutes on {run['hardware']}; {run['images']} images; "
            f"seed {run['seed']}. `docs/recipe.toml`, where it is there, says what with."
        )
    if curve:
        yield from ("", "![Learning curve](curve.png)")

    yield from ("", "## Scores", "")
    if bundle.scores:
        yield from _score_table(bundle.scores)
        yield from ("", "Means over images never trained on; they chose weights and settings.")
    else:
        yield "None: there were no images to validate on."
    if bundle.calibration is not None:
        yield from ("", "## Detection probability", "", *_reliability(bundle))
    if bundle.limits:
        yield from ("", "## Limits", "", bundle.limits.strip())


def tell_gain(gain: Mapping[str, Any]) -> str:
    """Put into words what a score was before training and after, as a bundle's metadata have it."""
    before, after, interval = gain["before"], gain["after"], gain["interval"]
    change = f"{gain['score']} {before:.3f} before, {after:.3f} after ({after - before:+.3f}; "
    many = f"{gain['count']} {gain['of']}"
    if interval is None:
        return f"{change}{many} can't tell whether that is chance)"
    low, high = interval
    chance = "more than chance" if low > 0 or high < 0 else "may be chance"
    return f"{change}95 % interval {low:+.3f} to {high:+.3f} over {many}: {chance})"


def _reliability(bundle: Bundle) -> Iterator[str]:
    facts = bundle.metadata["qpbridge"]["calibration"]
    yield (
        "Of the validation images' objects that are given a probability of 0.8, 8 of 10 are right: "
        "their IoU with one of the truth is over 0.5."
    )
    if "error" in facts:
        before, after = facts["error_uncalibrated"], facts["error"]
        yield (
            f"That was learned from {facts['objects']} objects. Learned from every other image "
            f"alone, it was wrong by {after:.3f} on average on the rest, the network's own mean "
            f"foreground probability by {before:.3f}. On other tissue it may be off by more."
        )
    yield from ("", "![Reliability](reliability.png)")


def _source_row(use: str, source: Mapping[str, Any]) -> str:
    cells = (
        source.get("title", source["folder"]),
        use,
        f"`{source['pattern']}`".replace("|", ", "),
        _pixel_size(source),
        source.get("licence", "unknown"),
        source.get("citation", ""),
    )
    return f"| {' | '.join(cells)} |"


def _pixel_size(source: Mapping[str, Any]) -> str:
    if source.get("mpp"):
        return f"{source['mpp']:g}"
    if "mpp_range" in source:
        low, high = source["mpp_range"]
        return f"{low:g} to {high:g}, by the size of the nuclei"
    return "unknown"


def _score_table(scores: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    shown = {
        key: title
        for key, title in SCORES.items()
        if any(values.get(key) is not None for values in scores.values())
    }
    yield f"| set | images | objects | {' | '.join(shown.values())} |"
    yield "|" + " --- |" * (3 + len(shown))
    for title, values in scores.items():
        counts = (str(values.get(key, "")) for key in ("images", "objects"))
        numbers = (_number(values.get(key)) for key in shown)
        yield f"| {' | '.join((title, *counts, *numbers))} |"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if value > 1 else f"{value:.3f}"
