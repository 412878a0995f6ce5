"""How well a model, or a person's corrections, agree with the truth."""

from __future__ import annotations

import html
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from qpbridge import checks
from qpbridge.api.arguments import Names, ProjectLike, as_project
from qpbridge.api.segment import ModelLike, as_bundle
from qpbridge.errors import CombinationError, ModelError
from qpbridge.evaluation.folder import score_each
from qpbridge.evaluation.labelled import load_pairs
from qpbridge.evaluation.predict import WITH_HOLES
from qpbridge.evaluation.reviewed import load_reviewed
from qpbridge.evaluation.scores import image_scores, mean_scores
from qpbridge.hierarchy.provenance import TARGETS
from qpbridge.models.bundle import DEFAULT_MODELS
from qpbridge.project.each_image import Report, Reports
from qpbridge.slides.calibration import check_mpp

Scores = dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """Scores by name, as `qpbridge.evaluation.scores.MEANINGS` explains them.

    Attributes
    ----------
    images
        Name and scores of each image, or of each reviewed region of one.
    mean
        Of every score, over the images.
    failed
        The images of a project that could not be read, or not as a whole, and why.
    """

    images: list[tuple[str, Scores]]
    mean: Scores
    failed: Reports[Report] = field(default_factory=Reports[Report])

    def __repr__(self) -> str:
        mean = ", ".join(f"{name} {value:.3f}" for name, value in list(self.mean.items())[:4])
        failed = f"; {len(self.failed)} failed" if self.failed else ""
        return f"<Evaluation of {len(self.images)} images: {mean} ...{failed}>"

    def _repr_html_(self) -> str:
        names = list(self.mean)
        head = "".join(f"<th>{name}</th>" for name in ("Image", *names))
        rows = "".join(
            f"<tr><td>{html.escape(image)}</td>"
            + "".join(f"<td>{scores.get(name, float('nan')):.3f}</td>" for name in names)
            + "</tr>"
            for image, scores in [*self.images, ("mean", self.mean)]
        )
        failed = self.failed._repr_html_() if self.failed else ""
        return f"<table><tr>{head}</tr>{rows}</table>{failed}"


def evaluate(
    project: ProjectLike | None = None,
    *,
    target: str,
    truth: str | None = None,
    image_folder: str | os.PathLike[str] | None = None,
    label_folder: str | os.PathLike[str] | None = None,
    images: Names = (),
    model: ModelLike | None = None,
    model_mpp: float | None = None,
    trust: bool = False,
    mpp: float | None = None,
) -> Evaluation:
    """Score a model on labelled images, or what is in a project against what a person drew there.

    With folders of images and labels the model segments the images, which are taken to have the
    µm per pixel that it works at, unless `mpp` says otherwise. With a project, the objects that
    qpbridge made for the target (corrected or not) are compared with those of the class `truth`;
    with `model`, what that model finds there is. Only annotations that a person reviewed count:
    those that are locked or have the metadata ``qpbridge reviewed``, also where nothing is left in
    them; where no image has any, those with objects of that class that a person drew or changed.
    All objects of the class in them are true, whoever made them.

    Parameters
    ----------
    project
        An open project, or the path of one.
    target
        What was looked for: ``nuclei``, ``glands`` or ``vessels``.
    truth
        With a project: class of the objects that are the truth.
    image_folder, label_folder
        Instead of a project: images, and labels of the same names (PNG or TIFF; 0 is background,
        every other value one object; vessels may be one mask).
    images
        Names or entry ids of images of the project; none: all.
    model
        Name, path or `Bundle`. None: the target's own.
    model_mpp
        µm per pixel that a model expects which doesn't say so itself.
    trust
        Let a model be TorchScript, which is a program of whoever made it, from now on: see
        `load_bundle`.
    mpp
        µm per pixel of the images; with a project, at which to compare. None: the model's.

    Returns
    -------
    Evaluation
        Scores of each image or region, and their means. An image of a project that fails is listed
        in it, and the others are scored; where no other has objects of the class, the error is
        raised.

    Raises
    ------
    RequestError
        If the arguments make no sense together.
    ModelError
        If the model finds something else.
    SelectionError
        If no image has objects of the class.
    QpbridgeError
        If an image of a folder can't be read, or doesn't fit its labels.

    Examples
    --------
    >>> evaluation = qpbridge.evaluate(
    ...     target="nuclei", image_folder=pictures / "images", label_folder=pictures / "labels",
    ...     mpp=0.5)
    >>> evaluation.mean["dice"] > 0.5
    True
    """
    checks.choice("target", target, TARGETS)
    check_mpp("mpp", mpp)
    check_mpp("model_mpp", model_mpp)
    _check_sources(project, truth, image_folder, label_folder, images)
    bundle = as_bundle(
        DEFAULT_MODELS[target] if model is None else model,
        target=target,
        mpp=model_mpp,
        trust=trust,
    )
    if bundle.target != target:
        raise ModelError(f"`model` {bundle.name}: finds {bundle.target}, not {target}")
    failed = Reports[Report]()
    if image_folder is not None and label_folder is not None:
        pairs = load_pairs(Path(image_folder), Path(label_folder), mpp or bundle.mpp)
        rows = score_each(bundle, pairs)
    else:
        assert truth is not None
        reviewed = load_reviewed(
            as_project(project),
            truth,
            target,
            mpp=mpp or bundle.mpp,
            images=checks.names("images", images),
            filled=bundle.decoder not in WITH_HOLES,
            nominal_mpp=bundle.mpp if bundle.nominal_mpp else None,
            failed=lambda entry, error: failed.append(
                replace(Report.of_failure(entry.name, error), id=entry.id)
            ),
        )
        if model is not None:
            rows = score_each(bundle, (region.sample for region in reviewed))
        else:
            rows = [
                (
                    region.sample.name,
                    image_scores(region.sample.labels, region.found, known=region.sample.known),
                )
                for region in reviewed
            ]
    return Evaluation(rows, mean_scores(scores for _, scores in rows), failed)


def _check_sources(
    project: object, truth: object, image_folder: object, label_folder: object, images: Names
) -> None:
    """Refuse what is no whole pair: images and labels, or a project and its truth."""
    if (project is None) == (image_folder is None):
        raise CombinationError(
            "Give either `image_folder` and `label_folder`, or a project and `truth`.", "project"
        )
    if (image_folder is None) != (label_folder is None):
        raise CombinationError("`image_folder` needs `label_folder`.", "label_folder")
    if (project is None) != (truth is None):
        raise CombinationError("A project needs `truth`, and nothing else does.", "truth")
    if images and project is None:
        raise CombinationError("`images` chooses images of a project; there is none.", "images")
    if image_folder is not None:
        checks.path("image_folder", image_folder)
        checks.path("label_folder", label_folder)
    else:
        checks.text("truth", truth)
