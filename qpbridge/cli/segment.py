"""``qpbridge segment``: the main job."""

from __future__ import annotations

import math
import shlex
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from qpbridge.cli.options import (
    backend_option,
    device_option,
    image_option,
    json_option,
    model_mpp_option,
    mpp_option,
    places_options,
    project_argument,
    selection_options,
    target_option,
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
from qpbridge.engine.segmenting.job import segment_project
from qpbridge.engine.segmenting.request import (
    MAX_EXPANSION,
    ImageReport,
    NucleusOptions,
    Progress,
    Request,
)
from qpbridge.errors import ModelError
from qpbridge.measurements.summary import EVALUATED_AREA
from qpbridge.models.bundle import DEFAULT_MODELS, Bundle, load_bundle
from qpbridge.objects import ObjectKind
from qpbridge.project import Backend, Places, open_project

CONTENTS = ("nuclei",)
"""Targets that are written below the objects of others."""

COLUMNS = {
    "nuclei": {"Density per mm^2": "per mm²", "Area mean µm^2": "Area µm²", "Area SD µm^2": "SD"},
    "glands": {"Density per mm^2": "per mm²", "Area %": "%", "Area mean µm^2": "Area µm²"},
}
COLUMNS["vessels"] = COLUMNS["glands"]


@click.command(cls=Command)
@project_argument
@image_option
@target_option
@click.option(
    "--model",
    "models",
    metavar="BUNDLE",
    multiple=True,
    help="Name or path of a model; may be given once for each target.  "
    f"[default: {', '.join(DEFAULT_MODELS.values())}]",
)
@model_mpp_option
@selection_options
@device_option
@backend_option
@places_options
@mpp_option
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    help="Tiles per batch; halved where the memory doesn't do.  [default: CPU 1, GPU 4]",
)
@click.option(
    "--tile",
    type=click.IntRange(64),
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
    "--write",
    "area_kind",
    type=click.Choice(["annotations", "detections"]),
    default="annotations",
    show_default=True,
    help="What glands and vessels are written as. Annotations can be edited and hold nuclei.",
)
@click.option(
    "--cell-expansion",
    type=click.FloatRange(0, MAX_EXPANSION, min_open=True),
    metavar="UM",
    help="Grow nuclei by up to this many µm into cells, which don't overlap and stay in the "
    "annotation, and measure nucleus, cytoplasm, membrane and cell.",
)
@click.option(
    "--positivity",
    metavar="T[,T2,T3]",
    default="",
    callback=lambda _context, _option, value: _thresholds(value),
    help="Class nuclei by their mean optical density of DAB: Negative and Positive from T on, or "
    "Negative, 1+, 2+ and 3+. QuPath's own choice is 0.2, or 0.2,0.4,0.6.",
)
@click.option(
    "--features",
    type=click.Choice(["basic", "all"]),
    default="basic",
    show_default=True,
    help="'all' measures more of each nucleus: equivalent diameter, eccentricity, orientation, "
    "extent, compactness; Haralick's texture of hematoxylin, and how uneven the chromatin is.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
@json_option
def segment(
    project: Path,
    images: tuple[str, ...],
    targets: tuple[str, ...],
    models: tuple[str, ...],
    model_mpp: float | None,
    area_kind: str,
    places: Places,
    backend: Backend,
    as_json: bool,
    **settings: Any,
) -> None:
    """Segment inside the annotations of PROJECT, and write what is found below these annotations.

    Without further options nuclei are segmented in all annotations that enclose an area, except
    those of ignored classes such as Ignore*. A nucleus belongs to the innermost annotation that
    holds its centroid, a gland or vessel to the innermost that covers it. Running again replaces
    what qpbridge found there before; what a person drew or changed stays. A run that was stopped
    goes on where it was when started again with the same options.

    With --cell-expansion nuclei become cells; a run without turns them into nuclei again.

    Exit code 0: done; 1: failed; 2: wrong usage; 3: some images failed, the others are written.
    """
    bundles = _bundles(models, targets, model_mpp)
    nuclei = NucleusOptions(
        settings.pop("cell_expansion"),
        settings.pop("positivity"),
        settings.pop("features") == "all",
    )
    if nuclei != NucleusOptions() and all(bundle.target != "nuclei" for bundle in bundles):
        raise click.UsageError(
            "--cell-expansion, --positivity and --features are for nuclei; leave them out, or "
            "add --target nuclei."
        )
    request = Request(
        area_kind=ObjectKind[area_kind.upper().removesuffix("S")],
        command="qpbridge " + shlex.join(sys.argv[1:]),
        **settings,
    )
    opened = open_project(project, backend=backend, places=places)
    with Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=messages,
        transient=True,
        disable=not messages.is_terminal,
    ) as bars:
        runs = []
        for bundle in bundles:
            if bundle.notice:
                messages.print(f"{bundle.name}: {bundle.notice}")
            watch = _progress(bars, bundle.target, len(opened.select(images)))
            wanted = replace(request, nuclei=nuclei) if bundle.target == "nuclei" else request
            runs.append(segment_project(opened, bundle, wanted, images=images, progress=watch))
    if as_json:
        print_json({"project": str(opened.path), **_as_json(bundles, runs)})
    else:
        for bundle, reports in zip(bundles, runs, strict=True):
            _print(reports, bundle.target)
    failures = {
        r.image: r.message for run in runs for r in run if r.status == "failed" and not r.missing
    }
    exit_with_failures(failures, len(runs[0]), missing=sum(r.missing for r in runs[0]))


def _thresholds(text: str) -> tuple[float, ...]:
    """Read one threshold, or three that ascend; none of an empty text."""
    try:
        values = tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        values = (math.nan,)
    ascending = all(a < b for a, b in pairwise(values)) and all(map(math.isfinite, values))
    if len(values) not in (0, 1, 3) or not ascending:
        raise click.BadParameter(
            f"{text!r} is not one threshold, or three that ascend, such as 0.2 or 0.2,0.4,0.6."
        )
    return values


def _bundles(
    models: tuple[str, ...], targets: tuple[str, ...], model_mpp: float | None
) -> list[Bundle]:
    """Load one model for each target; nuclei last, since glands and vessels can hold them."""
    only = targets[0] if len(targets) == 1 else None
    given = [load_bundle(model, target=only, mpp=model_mpp) for model in models]
    wanted = dict.fromkeys(targets or [b.target for b in given] or ["nuclei"])
    for model, bundle in zip(models, given, strict=True):
        if bundle.target not in wanted:
            raise ModelError(
                f"--model {model}: segments {bundle.target}, not {' or '.join(wanted)}"
            )
    by_target = {bundle.target: bundle for bundle in given}
    if len(by_target) < len(given):
        raise ModelError("--model: only one model for each target can be used at a time")
    return [
        by_target.get(target) or load_bundle(DEFAULT_MODELS[target])
        for target in sorted(wanted, key=lambda t: (t in CONTENTS, t))
    ]


def _as_json(bundles: list[Bundle], runs: list[list[ImageReport]]) -> dict[str, Any]:
    """Describe the run of a target; those of several as a list."""
    described = [
        {
            "target": bundle.target,
            "model": {"name": bundle.name, "version": bundle.version, "mpp": bundle.mpp},
            "images": [report_document(report) for report in reports],
        }
        for bundle, reports in zip(bundles, runs, strict=True)
    ]
    return described[0] if len(described) == 1 else {"runs": described}


def _progress(bars: Bars, target: str, images: int) -> Progress:
    """Show a bar for the image, and one for all of them if there are several."""
    image = bars.add_task("", visible=False)
    project = bars.add_task(f"all {images} images", total=images, visible=images > 1)
    ended, total = 0, 1.0

    def start(name: str, megapixels: float, done: float) -> None:
        nonlocal total
        total = megapixels
        bars.reset(image, total=megapixels, completed=int(done), description=name, visible=True)
        if done:
            messages.print(f"{name}: goes on at {done / megapixels:.0%}")

    def advance(megapixels: float) -> None:
        bars.advance(image, megapixels)
        bars.advance(project, megapixels / total)

    def end(report: ImageReport) -> None:
        nonlocal ended
        ended += 1
        bars.update(project, completed=ended)
        bars.update(image, visible=False)
        if report.missing or report.status == "planned":
            return  # is listed elsewhere
        note = (
            in_options(report.message)
            if report.status in ("skipped", "failed")
            else f"{report.found} {target}"
        )
        messages.print(f"{report.image}: {note}")

    return Progress(
        start_image=start,
        advance=advance,
        end_image=end,
        missing=lambda missing, images: print_missing(
            [(entry.name, error) for entry, error in missing], images
        ),
    )


def _print(reports: list[ImageReport], target: str) -> None:
    many = target.capitalize()
    names = COLUMNS[target]
    rows = [
        (
            report.image,
            region.name,
            region.path_class,
            region.measurements[EVALUATED_AREA] / 1e6,
            *(region.measurements.get(f"{many}: {name}") for name in ("Count", *names)),
        )
        for report in reports
        for region in report.regions
    ]
    if rows:
        columns = ("Image", "Region", "Class", "mm²", many, *names.values())
        print_table(columns, rows)
    for report in reports:
        if report.status == "planned":
            say(
                f"{report.image}: {report.tiles} tiles, {report.megapixels:.1f} MPix, about "
                f"{report.seconds:.0f} s and {report.memory_gb:.1f} GB; would replace "
                f"{report.replaced} {target}, and keep {report.kept_changed} that were changed by "
                "hand"
            )
        elif report.status == "written":
            say(
                f"{report.image}: {report.found} {target} written, {report.replaced} replaced, "
                f"{report.kept_changed} changed by hand kept; {report.seconds:.1f} s, "
                f"{report.megapixels / report.seconds:.2f} MPix/s"
            )
            stages = ", ".join(f"{name} {busy:.1f} s" for name, busy in report.stages.items())
            messages.print(f"Busy: {stages}; most of it: {report.bottleneck}")
