"""``qpbridge measure``: the objects that are there, again."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import qpbridge
from qpbridge.cli.options import (
    backend_option,
    image_option,
    json_option,
    mpp_option,
    places_options,
    project_argument,
    selection_options,
)
from qpbridge.cli.output import (
    counted,
    exit_with_failures,
    messages,
    print_json,
    print_table,
    report_document,
    say,
)
from qpbridge.cli.wording import Command, in_options
from qpbridge.engine.measuring.request import MeasureReport
from qpbridge.hierarchy.provenance import TARGETS
from qpbridge.measurements.grading import DISCLAIMER, SYSTEMS
from qpbridge.measurements.names import AREA
from qpbridge.measurements.region_names import (
    AREA_SHARE,
    COUNT,
    DENSITY,
    EVALUATED_AREA,
    HOTSPOT_DENSITY,
    of_region,
)
from qpbridge.project import Backend, Places, open_project

_LENGTH = click.FloatRange(0, min_open=True)

COLUMNS = {
    of_region("nuclei", COUNT): "Nuclei",
    of_region("nuclei", DENSITY): "per mm²",
    of_region("nuclei", AREA, "mean"): "Area µm²",
    of_region("nuclei", AREA, "CV"): "CV",
    of_region("glands", COUNT): "Glands",
    of_region("glands", AREA_SHARE): "%",
    of_region("vessels", COUNT): "Vessels",
    of_region("vessels", HOTSPOT_DENSITY): "Hot spot per mm²",
}


@click.command(cls=Command)
@project_argument
@image_option
@selection_options
@click.option(
    "--classes",
    metavar="CLASS",
    multiple=True,
    help="Count only detections and cells of this class, and of those that derive from it, as "
    "nuclei; may be given several times.  [default: all]",
)
@click.option(
    "--delaunay",
    type=_LENGTH,
    metavar="µm",
    help="Nuclei at this distance or further apart are no neighbours.  [default: no limit]",
)
@click.option(
    "--clusters",
    is_flag=True,
    help="Also average shapes and mean intensities over clusters of nuclei: those that are "
    "neighbours, and theirs, and so on. Needs --delaunay.",
)
@click.option(
    "--density",
    type=_LENGTH,
    metavar="µm",
    multiple=True,
    help="Also count the nuclei within this radius of each; may be given several times.",
)
@click.option(
    "--orientation",
    type=_LENGTH,
    metavar="µm",
    multiple=True,
    help="Also measure how unlike the directions of the nuclei within this radius are; may be "
    "given several times.",
)
@click.option(
    "--smooth",
    type=_LENGTH,
    metavar="µm",
    multiple=True,
    help="Also average shapes and mean intensities over the nuclei around each, weighted by a "
    "Gaussian of this full width at half maximum; may be given several times.",
)
@click.option(
    "--distances",
    is_flag=True,
    help="Also measure how far nuclei are from the annotations of each class, from glands and "
    "vessels and their lumina; negative within.",
)
@click.option(
    "--intensities",
    is_flag=True,
    help="Also measure the stains of nuclei and whole cells (not cytoplasm and membrane) again, at "
    "0.5 µm per pixel; this reads the image.",
)
@click.option(
    "--morphometry",
    is_flag=True,
    help="Also tell mean, SD, CV, 10th and 90th percentile of every measurement of a region's "
    "nuclei.",
)
@click.option(
    "--grading",
    type=click.Choice(tuple(SYSTEMS)),
    multiple=True,
    help="Also compute what can be told toward this grading; may be given several times. An aid "
    "for research, never a diagnosis.",
)
@click.option(
    "--reference",
    metavar="CLASS",
    help="For --grading: nuclei in annotations of this class are normal.",
)
@click.option(
    "--epithelium",
    metavar="CLASS",
    help="For --grading: annotations of this class are the tumour's epithelium, without stroma.",
)
@mpp_option
@backend_option
@places_options
@json_option
def measure(
    project: Path,
    grading: tuple[str, ...],
    places: Places,
    backend: Backend,
    as_json: bool,
    **settings: Any,
) -> None:
    """Measure the objects in the annotations of PROJECT again, and sum them up on the annotations.

    Nothing is segmented. Nuclei are all detections and cells, whoever made them, except of ignored
    classes, or those of --classes; glands and vessels are those that qpbridge made, and
    annotations and detections of the classes Gland and Vessel. Without further options nuclei get
    their shape, nearest neighbour and Delaunay neighbours, glands and vessels their shape, lumina,
    walls and neighbours, and annotations the counts, densities, means and hot spots of what is in
    them. Other measurements, and the objects themselves, are kept.

    For --grading gleason, annotations of the classes "Gleason 3", "Gleason 4" and "Gleason 5" are
    the patterns that a person saw. See docs/measurements.md for every name.

    Exit code 0: done; 1: failed; 2: wrong usage; 3: some images failed, the others are written.
    """
    opened = open_project(project, backend=backend, places=places)
    command = "qpbridge " + shlex.join(sys.argv[1:])
    reports = qpbridge.measure(opened, grading=grading, command=command, ended=_say, **settings)
    if as_json:
        print_json({"project": str(opened.path), "images": [report_document(r) for r in reports]})
    else:
        _print(reports)
        for system in dict.fromkeys(grading):
            _print_grading(system, reports)
    failures = reports.reasons()
    exit_with_failures(failures, len(reports))


def _say(report: MeasureReport) -> None:
    for note in (report.message, *report.notes):
        if note:
            messages.print(f"{report.image}: {in_options(note)}")


def _print(reports: Sequence[MeasureReport]) -> None:
    regions = [(report.image, region) for report in reports for region in report.regions]
    known = {name for _, region in regions for name in region.measurements}
    names = [name for name in COLUMNS if name in known]
    rows = [
        (
            image,
            region.name,
            region.path_class,
            area / 1e6 if (area := region.measurements.get(EVALUATED_AREA)) is not None else None,
            *(region.measurements.get(name) for name in names),
        )
        for image, region in regions
    ]
    if rows:
        columns = ("Image", "Region", "Class", "mm²", *(COLUMNS[name] for name in names))
        print_table(columns, rows)
    for report in reports:
        if report.status == "written":
            found = ", ".join(
                f"{counted(report.counts[target], target.removesuffix('s'))}"
                if target != "nuclei"
                else f"{report.counts[target]:,} nuclei ({report.others[target]:,} not by qpbridge)"
                for target in TARGETS
            )
            left_out = f", {report.left_out:,} of other classes left out" if report.left_out else ""
            say(f"{report.image}: {found} measured{left_out} in {report.seconds:.1f} s")


def _print_grading(system: str, reports: Sequence[MeasureReport]) -> None:
    """Print what can be told toward a grade of all regions, and what it is worth."""
    graded = [
        (report.image, region)
        for report in reports
        for region in report.regions
        if system in region.grading
    ]
    if not graded:
        return
    aids = [(image, region.name, region.grading[system]) for image, region in graded]
    say()
    say(SYSTEMS[system].title)
    say(DISCLAIMER)
    names = list(SYSTEMS[system].definitions)
    rows = [(image, name, *(aid.measurements[n] for n in names)) for image, name, aid in aids]
    print_table(("Image", "Region", *(n.partition(": ")[2] for n in names)), rows)
    absent = dict.fromkeys(text for *_, aid in aids for text in aid.absent)
    used = {name.partition(":")[0].lower() for name in SYSTEMS[system].needs}
    models = dict.fromkeys(
        f"{target}: {run.partition(' at ')[0]}"
        for _, region in graded
        for target, run in region.found_by.items()
        if target in used
    )
    for title, texts in (
        ("Found by (see `qpbridge models show` for what each was trained on)", tuple(models)),
        ("Not measured here", tuple(absent)),
        ("What grading needs beside", SYSTEMS[system].missing),
        ("What these numbers can't tell", SYSTEMS[system].limits),
        ("Sources", SYSTEMS[system].sources),
    ):
        if texts:
            say(f"{title}:")
            for text in texts:
                say(f"  - {text}")
