"""``qpbridge segment``: the main job."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

import qpbridge
from qpbridge.api.progress import bars
from qpbridge.checks import thresholds
from qpbridge.cli.options import (
    backend_option,
    device_option,
    image_option,
    image_type_option,
    json_option,
    model_mpp_option,
    mpp_option,
    places_options,
    project_argument,
    selection_options,
    target_option,
    trust_option,
)
from qpbridge.cli.output import (
    exit_with_failures,
    messages,
    print_json,
    print_missing,
    print_table,
    report_document,
    say,
)
from qpbridge.cli.wording import Command, in_options
from qpbridge.engine.segmenting.request import (
    AREA_KINDS,
    FEATURES,
    MAX_TILE,
    MIN_TILE,
    ImageReport,
    Missing,
)
from qpbridge.measurements.names import AREA
from qpbridge.measurements.region_names import (
    AREA_SHARE,
    COUNT,
    DENSITY,
    EVALUATED_AREA,
    of_region,
)
from qpbridge.measurements.staining import SHOWN, TYPES
from qpbridge.models.bundle import DEFAULT_MODELS
from qpbridge.objects import ImageType
from qpbridge.prediction.options import MAX_EXPANSION, NONE
from qpbridge.project import Backend, Places, open_project
from qpbridge.project.each_image import Reports
from qpbridge.texts import printable

TOLD_BY = {"pixels": "by its pixels", "given": "as given", "model": "as the model is made for"}
"""How the type of an image is known that its project did not know."""

OF_RUN = ("target", "model", "model_version", "model_mpp")
"""What the report of an image repeats of its run."""

COLUMNS = {
    "nuclei": {(DENSITY,): "per mm²", (AREA, "mean"): "Area µm²", (AREA, "SD"): "SD"},
    "glands": {(DENSITY,): "per mm²", (AREA_SHARE,): "%", (AREA, "mean"): "Area µm²"},
}
COLUMNS["vessels"] = COLUMNS["glands"]
"""What the table shows of each target, beside how many: by what `of_region` takes."""


@click.command(cls=Command)
@project_argument
@image_option
@target_option("nuclei")
@click.option(
    "--model",
    metavar="BUNDLE",
    multiple=True,
    help="Name or path of a model; may be given once for each target.  "
    f"[default: {', '.join(DEFAULT_MODELS.values())}]",
)
@model_mpp_option
@trust_option
@selection_options
@device_option
@backend_option
@places_options
@mpp_option
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    help="Tiles per batch; halved where the memory is too small.  [default: CPU 1, GPU 4]",
)
@click.option(
    "--tile",
    type=click.IntRange(MIN_TILE, MAX_TILE),
    default=2048,
    show_default=True,
    help="Side of a tile, in pixels at the model's resolution. The result doesn't depend on it.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="On a CPU, tiles under way at a time; on a GPU, threads that read, and as many that "
    "decode.  [default: as many as processors]",
)
@click.option(
    "--compile",
    "compiled",
    is_flag=True,
    help="Compile the network with torch.compile: takes a minute, may pay on a large job.",
)
@click.option("--restart", is_flag=True, help="Begin anew where a run was stopped.")
@click.option(
    "--restore-deleted",
    is_flag=True,
    help="Put in again what a person deleted, where it is found. Else it stays deleted.",
)
@click.option(
    "--write",
    "area_kind",
    type=click.Choice(tuple(AREA_KINDS)),
    default="annotations",
    show_default=True,
    help="What glands and vessels are written as. Annotations can be edited and hold nuclei.",
)
@click.option(
    "--keep-artefacts",
    is_flag=True,
    help="Search black fill and ink as well, where they are told wrongly; see qpbridge quality.",
)
@image_type_option(
    "What the images are, whatever the project says.  [default: what it says, or else the pixels]",
    *TYPES,
)
@click.option(
    "--force",
    is_flag=True,
    help="Go on where by the size of the nuclei the pixel size is wrong, or an image too coarse.",
)
@click.option(
    "--cell-expansion",
    type=click.FloatRange(0, MAX_EXPANSION),
    metavar="UM",
    help="Grow nuclei by up to this many µm into cells, which don't overlap and stay in the "
    "annotation, and measure nucleus, cytoplasm, membrane and cell; 0: nuclei.  [default: as the "
    "run before]",
)
@click.option(
    "--positivity",
    metavar="T[,T2,T3]",
    callback=lambda _context, _option, value: _thresholds(value),
    help="Class nuclei by their mean optical density of DAB: Negative and Positive from T on, or "
    "Negative, 1+, 2+ and 3+; 'none': don't. QuPath's own choice is 0.2, or 0.2,0.4,0.6.  "
    "[default: as the run before]",
)
@click.option(
    "--features",
    type=click.Choice(FEATURES),
    help="'all' measures more of each nucleus: equivalent diameter, eccentricity, orientation, "
    "extent, compactness; Haralick's texture of hematoxylin, and how uneven the chromatin is.  "
    "[default: as the run before, or basic]",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
@json_option
def segment(
    project: Path, places: Places, backend: Backend, as_json: bool, **settings: Any
) -> None:
    """Segment inside the annotations of PROJECT, and write what is found below these annotations.

    Without further options nuclei are segmented in all annotations that enclose an area, except
    those of ignored classes such as Ignore*; or, in a tissue microarray without annotations, in its
    cores. A nucleus belongs to the innermost annotation that
    holds its centroid, a gland or vessel to the innermost that covers it. Running again replaces
    what qpbridge found there before; what a person drew or changed stays, and what a person deleted
    stays deleted. A run that was stopped
    goes on where it was when started again with the same options.

    With --cell-expansion nuclei become cells. What --cell-expansion, --positivity and --features
    don't say is done as the run before in the same annotations did it.

    Exit code 0: done; 1: failed; 2: wrong usage; 3: some images failed, the others are written.
    """
    opened = open_project(project, backend=backend, places=places)
    with bars(messages, _list_missing, in_options) as watch:
        reports = qpbridge.segment(
            opened, command="qpbridge " + shlex.join(sys.argv[1:]), progress=watch, **settings
        )
    runs: dict[str, list[ImageReport]] = {}
    for report in reports:
        runs.setdefault(report.target, []).append(report)
    if as_json:
        print_json({"project": str(opened.path), **_as_json(runs)})
    else:
        for target, done in runs.items():
            _print(done, target)
    failures = Reports(r for r in reports if not r.missing).reasons()
    first = next(iter(runs.values()))
    exit_with_failures(failures, len(first), missing=sum(r.missing for r in first))


def _thresholds(text: str | None) -> tuple[float, ...] | None:
    """Read one threshold, or three that ascend, or that there are none."""
    if text is None or text == NONE:
        return None if text is None else ()
    try:
        return thresholds("positivity", tuple(map(float, text.split(","))))
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is not one threshold, or three that ascend, such as 0.2 or 0.2,0.4,0.6."
        ) from error


def _list_missing(missing: Missing, images: int) -> None:
    print_missing([(entry.name, error) for entry, error in missing], images)


def _as_json(runs: Mapping[str, Sequence[ImageReport]]) -> dict[str, Any]:
    """Describe the run of a target; those of several as a list."""
    described = [
        {
            "target": target,
            "model": {
                "name": reports[0].model,
                "version": reports[0].model_version,
                "mpp": reports[0].model_mpp,
            },
            "images": [report_document(report, *OF_RUN) for report in reports],
        }
        for target, reports in runs.items()
    ]
    return described[0] if len(described) == 1 else {"runs": described}


def _print(reports: Sequence[ImageReport], target: str) -> None:
    shown = {(COUNT,): target.capitalize(), **COLUMNS[target]}
    rows = [
        (
            report.image,
            region.name,
            region.path_class,
            region.measurements[EVALUATED_AREA] / 1e6,
            *(region.measurements.get(of_region(target, *name)) for name in shown),
        )
        for report in reports
        for region in report.regions
    ]
    if rows:
        columns = ("Image", "Region", "Class", "mm²", *shown.values())
        print_table(columns, rows)
    for report in reports:
        if report.status in ("planned", "written", "done by another run"):
            say(str(report))
        for warning in report.warnings:
            messages.print(f"Warning: {printable(report.image)}: {in_options(warning)}")
        if report.status == "written" and report.image_type_from in TOLD_BY:
            kind = SHOWN[ImageType(report.image_type)]
            how = TOLD_BY[report.image_type_from]
            messages.print(f"{printable(report.image)}: its type is set to {kind}, {how}")
        if report.as_before:
            kept = ", ".join(report.as_before)
            messages.print(f"{printable(report.image)}: as in the run before: {kept}")
        if report.status == "written":
            stages = ", ".join(f"{name} {busy:.1f} s" for name, busy in report.stages.items())
            messages.print(f"Busy: {stages}; most of it: {report.bottleneck}")
