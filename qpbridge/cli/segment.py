"""``qpbridge segment``: the main job."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from qpbridge.cli.options import (
    backend_option,
    device_option,
    image_option,
    json_option,
    places_options,
    project_argument,
    target_option,
)
from qpbridge.cli.output import (
    exit_with_failures,
    messages,
    print_json,
    print_missing,
    print_table,
)
from qpbridge.engine.job import ImageReport, Progress, Request, segment_project
from qpbridge.engine.regions import Selection
from qpbridge.errors import ModelError
from qpbridge.measure.summary import EVALUATED_AREA
from qpbridge.models.bundle import Bundle, load_bundle
from qpbridge.project import Backend, Places, open_project
from qpbridge.slides.calibration import MAX_MPP, MIN_MPP

DEFAULT_MODELS = {"nuclei": "nuclei_he"}


@click.command()
@project_argument
@image_option
@target_option
@click.option("--model", metavar="BUNDLE", help="Name or path of a model.  [default: nuclei_he]")
@click.option(
    "--within",
    metavar="CLASS",
    multiple=True,
    help="Only in annotations of this class; may be given several times.",
)
@click.option(
    "--selected",
    metavar="NAME",
    multiple=True,
    help="Only in annotations of this name or id; may be given several times.",
)
@click.option("--whole-image", is_flag=True, help="In the whole image, under no annotation.")
@device_option
@backend_option
@places_options
@click.option(
    "--mpp",
    type=click.FloatRange(MIN_MPP, MAX_MPP),
    metavar="F",
    help="µm per pixel of the images at full resolution, instead of what project and files say.",
)
@click.option(
    "--batch-size", type=click.IntRange(1), default=2, show_default=True, help="Tiles per batch."
)
@click.option(
    "--tile",
    type=click.IntRange(64),
    default=1024,
    show_default=True,
    help="Side of a tile, in pixels at the model's resolution. The result doesn't depend on it.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Threads that read, and as many that decode.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
@json_option
def segment(
    project: Path,
    images: tuple[str, ...],
    targets: tuple[str, ...],
    model: str | None,
    places: Places,
    backend: Backend,
    as_json: bool,
    **settings: Any,
) -> None:
    """Segment nuclei inside the annotations of PROJECT, and write them below these annotations.

    Without further options all annotations that enclose an area are segmented, except those of
    ignored classes such as Ignore*. A nucleus belongs to the innermost annotation that holds its
    centroid. Running again replaces what qpbridge found there before; what a person drew or
    changed stays.

    Exit code 0: done; 1: failed; 2: wrong usage; 3: some images failed, the others are written.
    """
    bundle = _bundle(model, targets)
    request = Request(
        selection=Selection(
            settings.pop("within"), settings.pop("selected"), settings.pop("whole_image")
        ),
        command="qpbridge " + shlex.join(sys.argv[1:]),
        **settings,
    )
    opened = open_project(project, backend=backend, places=places)
    with Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("tiles"),
        TimeRemainingColumn(),
        console=messages,
        transient=True,
        disable=not messages.is_terminal,
    ) as bars:
        reports = segment_project(opened, bundle, request, images=images, progress=_progress(bars))
    if as_json:
        print_json(
            {
                "project": str(opened.path),
                "target": bundle.target,
                "model": {"name": bundle.name, "version": bundle.version, "mpp": bundle.mpp},
                "images": [asdict(r) for r in reports],
            }
        )
    else:
        _print(reports)
    failures = {r.image: r.message for r in reports if r.status == "failed" and not r.missing}
    exit_with_failures(failures, len(reports), missing=sum(r.missing for r in reports))


def _bundle(model: str | None, targets: tuple[str, ...]) -> Bundle:
    wanted = targets or ("nuclei",)
    missing = [t for t in wanted if t not in DEFAULT_MODELS]
    if missing:
        raise ModelError(f"no model for --target {missing[0]} yet; there is one for nuclei")
    bundle = load_bundle(model or DEFAULT_MODELS[wanted[0]])
    if bundle.target not in wanted:
        raise ModelError(f"--model {model}: segments {bundle.target}, not {' or '.join(wanted)}")
    return bundle


def _progress(bars: Bars) -> Progress:
    task = bars.add_task("", total=None, visible=False)

    def end(report: ImageReport) -> None:
        bars.update(task, visible=False)
        if report.missing or report.status == "planned":
            return  # is listed elsewhere
        note = (
            report.message if report.status in ("skipped", "failed") else f"{report.found} nuclei"
        )
        messages.print(f"{report.image}: {note}", markup=False)

    return Progress(
        start_image=lambda name, tiles: bars.reset(
            task, total=tiles, description=name, visible=True
        ),
        advance=lambda done: bars.update(task, completed=done),
        end_image=end,
        missing=lambda missing, images: print_missing(
            [(entry.name, error) for entry, error in missing], images
        ),
    )


def _print(reports: list[ImageReport]) -> None:
    rows = [
        (
            report.image,
            region.name,
            region.path_class,
            region.measurements[EVALUATED_AREA] / 1e6,
            *(
                region.measurements.get(f"Nuclei: {name}")
                for name in ("Count", "Density per mm^2", "Area mean µm^2", "Area SD µm^2")
            ),
        )
        for report in reports
        for region in report.regions
    ]
    if rows:
        columns = ("Image", "Region", "Class", "mm²", "Nuclei", "per mm²", "Area µm²", "SD")
        print_table(columns, rows)
    for report in reports:
        if report.status == "planned":
            click.echo(
                f"{report.image}: {report.tiles} tiles, {report.megapixels:.1f} MPix, about "
                f"{report.memory_gb:.1f} GB; would replace {report.replaced} nuclei, and keep "
                f"{report.kept_changed} that were changed by hand"
            )
        elif report.status == "written":
            click.echo(
                f"{report.image}: {report.found} nuclei written, {report.replaced} replaced, "
                f"{report.kept_changed} changed by hand kept; {report.seconds:.1f} s, "
                f"{report.megapixels / report.seconds:.2f} MPix/s"
            )
