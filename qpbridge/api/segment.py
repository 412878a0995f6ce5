"""Segmenting: several targets in their order, each with its model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from qpbridge import checks
from qpbridge.api.arguments import Names, ProjectLike, as_call, as_project
from qpbridge.api.progress import watched
from qpbridge.engine.segmenting.job import segment_project
from qpbridge.engine.segmenting.request import (
    FEATURES,
    ImageReport,
    Progress,
    Request,
    refuse_nucleus_options,
)
from qpbridge.errors import ModelError, RequestError
from qpbridge.hierarchy.provenance import TARGETS
from qpbridge.hierarchy.regions import Selection
from qpbridge.measurements.staining import as_type
from qpbridge.models.bundle import DEFAULT_MODELS, Bundle, load_bundle
from qpbridge.objects import ImageType, ObjectKind
from qpbridge.prediction.options import NucleusOptions
from qpbridge.project.each_image import Reports
from qpbridge.slides.calibration import check_mpp

ModelLike = str | os.PathLike[str] | Bundle
"""A model: its name, the path of its folder or zip file, or as `load_bundle` gives it."""

CONTENTS = ("nuclei",)
"""Targets that are written below the objects of others."""


def segment(
    project: ProjectLike,
    *,
    targets: Names = (),
    model: ModelLike | Iterable[ModelLike] | None = (),
    images: Names = (),
    within: Names = (),
    selected: Names = (),
    whole_image: bool = False,
    tma: bool = False,
    mpp: float | None = None,
    model_mpp: float | None = None,
    trust: bool = False,
    cell_expansion: float | None = None,
    positivity: float | Sequence[float] | None = None,
    features: str | None = None,
    area_kind: str | ObjectKind = "annotations",
    keep_artefacts: bool = False,
    image_type: ImageType | str | None = None,
    force: bool = False,
    device: str = "auto",
    tile: int = 2048,
    batch_size: int | None = None,
    workers: int | None = None,
    compiled: bool = False,
    restart: bool = False,
    restore_deleted: bool = False,
    dry_run: bool = False,
    command: str | None = None,
    progress: bool | Progress = False,
) -> Reports[ImageReport]:
    """Segment inside the annotations of a project, and write what is found below them.

    Without further arguments nuclei are segmented in all annotations that enclose an area, except
    those of ignored classes such as ``Ignore*``; or, in a tissue microarray without annotations, in
    its cores. Running again replaces what qpbridge found there
    before; what a person drew or changed stays. A run that was stopped goes on where it was.

    Parameters
    ----------
    project
        An open project, or the path of one.
    targets
        ``nuclei``, ``glands`` or ``vessels``, or several: nuclei come last, since glands and
        vessels can hold them. None: what the models find, or else nuclei.
    model
        Name, path or `Bundle`; several: one for each target. None: the target's own.
    images
        Names or entry ids of images; none: all.
    within, selected
        Full names of classes, and names or ids, of the annotations to work in; none: all.
        `selected` names TMA cores too.
    whole_image
        Work in the whole image, under no annotation.
    tma
        Work in the TMA cores that are not marked as missing, whatever is drawn in them. Without, so
        it is where there are cores and no annotations.
    mpp
        µm per pixel of the images, where the project and the files don't know it or are wrong.
    model_mpp
        µm per pixel that a model expects which doesn't say so itself.
    trust
        Let a model be TorchScript, which is a program of whoever made it, from now on: see
        `load_bundle`.
    cell_expansion
        Grow nuclei by up to this many µm into cells; 0: they stay nuclei. None, here and in
        `positivity` and `features`: as the run before in the same regions did it, if any.
    positivity
        One threshold of the mean optical density of DAB, or three that ascend: nuclei become
        Negative and Positive, or Negative, 1+, 2+ and 3+. Empty: they are not classed so.
    features
        ``basic``, or ``all``: measure more of each nucleus.
    area_kind
        What glands and vessels are written as: ``annotations`` or ``detections``.
    keep_artefacts
        Search black fill and ink as well, where they were told wrongly; how much there is of them
        is told all the same. See `quality`.
    image_type
        ``H&E``, ``H-DAB``, ``brightfield`` (other), ``fluorescence`` or ``other``: set whatever the
        project says. None: an image without a type gets the one that its pixels tell, if these
        leave no doubt.
    force
        Go on where, by the size of the nuclei, the pixel size is wrong, or an image is too coarse
        for the model.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; several GPUs with commas between.
    tile
        Largest side of a tile, pixels at the model's resolution; the result doesn't depend on it.
    batch_size, workers
        Tiles per batch, and tiles under way at a time; None: what suits the device.
    compiled
        Compile the network first.
    restart
        Begin anew where a run was stopped.
    restore_deleted
        Put in again what a person deleted, where it is found. Else it stays deleted.
    dry_run
        Only tell what would be done.
    command
        What QuPath's history says that was run; None: this call.
    progress
        True shows bars, in a terminal or a notebook; or hooks of one's own.

    Returns
    -------
    Reports of ImageReport
        One for each image and target, target by target, in the project's order. An image that
        fails is among them, and the others are written.

    Raises
    ------
    RequestError
        If an argument makes no sense; nothing was done then.
    ModelError
        If a model is unknown, broken, or finds something else.
    SelectionError
        If an image is unknown, or no image has anything to segment in.
    ProjectError
        If the project can't be read or written.

    Examples
    --------
    >>> reports = qpbridge.segment(project, within="Tumor", device="cpu")
    >>> reports
    <Reports: 1 written, 1 skipped>
    >>> [(region.name, int(region.measurements["Nuclei: Count"]) > 10)
    ...  for region in reports[0].regions]
    [('left', True)]
    """
    check_mpp("model_mpp", model_mpp)
    nuclei = NucleusOptions(
        cell_expansion=cell_expansion,
        positivity=None if positivity is None else checks.thresholds("positivity", positivity),
        all_features=_all_features(features),
    )
    request = Request(
        selection=Selection(within, selected, whole_image, tma),  # type: ignore[arg-type]
        device=device,
        mpp=mpp,
        tile=tile,
        batch_size=batch_size,
        workers=workers,
        compiled=compiled,
        restart=restart,
        restore_deleted=restore_deleted,
        area_kind=area_kind,  # type: ignore[arg-type]
        keep_artefacts=keep_artefacts,
        image_type=None if image_type is None else as_type("image_type", image_type),
        force=force,
        dry_run=dry_run,
        command=as_call("segment", targets=targets, within=within, selected=selected, tma=tma)
        if command is None
        else command,
    )
    bundles = choose_models(targets, model, model_mpp, trust=trust, run=not dry_run)
    if all(bundle.target != "nuclei" for bundle in bundles):
        refuse_nucleus_options(nuclei, " and ".join(bundle.target for bundle in bundles))
    opened = as_project(project)
    reports = Reports[ImageReport]()
    with watched(progress) as watch:
        for bundle in bundles:
            wanted = replace(request, nuclei=nuclei) if bundle.target == "nuclei" else request
            reports += segment_project(opened, bundle, wanted, images=images, progress=watch)
    return reports


def choose_models(
    targets: Names = (),
    model: ModelLike | Iterable[ModelLike] | None = (),
    model_mpp: float | None = None,
    *,
    trust: bool = False,
    run: bool = True,
) -> list[Bundle]:
    """Load one model for each target; nuclei last, since glands and vessels can hold them.

    Parameters
    ----------
    targets, model, model_mpp, trust
        As for `segment`.
    run
        Whether they are to be run, or only to be told of (`load_bundle`).

    Raises
    ------
    RequestError
        If a target is unknown, or something is no model.
    ModelError
        If a model is unknown, of no target that is wanted, or one of two for the same target.
    """
    named = checks.choices("targets", targets, TARGETS)
    checks.flag("trust", trust)
    models = _several(model)
    only = named[0] if len(named) == 1 else None
    given = [as_bundle(one, target=only, mpp=model_mpp, trust=trust, run=run) for one in models]
    wanted = dict.fromkeys(named or [b.target for b in given] or ["nuclei"])
    for one, bundle in zip(models, given, strict=True):
        if bundle.target not in wanted:
            name = one.name if isinstance(one, Bundle) else one
            raise ModelError(f"`model` {name}: segments {bundle.target}, not {' or '.join(wanted)}")
    by_target = {bundle.target: bundle for bundle in given}
    if len(by_target) < len(given):
        raise ModelError("`model`: only one model for each target can be used at a time")
    return [
        by_target.get(target) or load_bundle(DEFAULT_MODELS[target])
        for target in sorted(wanted, key=lambda t: (t in CONTENTS, t))
    ]


def _all_features(features: str | None) -> bool | None:
    return None if features is None else checks.choice("features", features, FEATURES) == "all"


def _several(model: Any) -> list[ModelLike]:
    if model is None:
        return []
    given = [model] if isinstance(model, str | os.PathLike | Bundle) else model
    if not isinstance(given, Iterable) or isinstance(given, bytes):
        raise RequestError("model", model, "the name or path of a model was expected")
    return list(given)


def as_bundle(
    model: object,
    *,
    target: str | None = None,
    mpp: float | None = None,
    trust: bool = False,
    run: bool = True,
) -> Bundle:
    """Return a loaded model as it is, and load one by its name or path.

    Raises
    ------
    RequestError
        If it is neither.
    ModelError
        If there is none of that name, or it can't be used.
    """
    if isinstance(model, Bundle):
        return model
    if isinstance(model, str | os.PathLike) and os.fspath(model):
        return load_bundle(os.fspath(model), target=target, mpp=mpp, trust=trust, run=run)
    raise RequestError("model", model, "the name or path of a model was expected")
