"""Which of two models is better."""

from __future__ import annotations

import os
from dataclasses import dataclass

from qpbridge.api.evaluate import Evaluation, evaluate
from qpbridge.api.segment import ModelLike, as_bundle
from qpbridge.errors import ModelError
from qpbridge.evaluation.differences import Difference, paired_difference


@dataclass(frozen=True)
class ModelComparison:
    """Two models on the same labelled images.

    Attributes
    ----------
    first, second
        The scores of each.
    differences
        By the name of the score: its means over the images that both have it of, and the 95 %
        interval of the difference.
    """

    first: Evaluation
    second: Evaluation
    differences: dict[str, Difference]


def compare_models(
    first: ModelLike,
    second: ModelLike,
    *,
    image_folder: str | os.PathLike[str],
    label_folder: str | os.PathLike[str],
    mpp: float | None = None,
    target: str | None = None,
    model_mpp: float | None = None,
    trust: bool = False,
) -> ModelComparison:
    """Score two models on the same labelled images, and tell the difference from chance.

    Parameters
    ----------
    first, second
        Names, paths or `Bundle`: models of the same target.
    image_folder, label_folder
        Images, and labels of the same names, as for `evaluate`.
    mpp
        µm per pixel of the images. None: the first model's.
    target
        What a model finds that doesn't say so itself.
    model_mpp
        µm per pixel that a model expects which doesn't say so itself.
    trust
        Let both be TorchScript, which is a program of whoever made it, from now on: see
        `load_bundle`.

    Raises
    ------
    ModelError
        If one is unknown, or they find different things.
    QpbridgeError
        If an image can't be read, or doesn't fit its labels.

    Examples
    --------
    >>> found = qpbridge.compare_models(
    ...     "nuclei_he", "nuclei_he_nc", image_folder=pictures / "images",
    ...     label_folder=pictures / "labels", mpp=0.5)
    >>> found.differences["aji"].before == found.first.mean["aji"]
    True
    """
    bundles = [as_bundle(one, target=target, mpp=model_mpp, trust=trust) for one in (first, second)]
    if bundles[0].target != bundles[1].target:
        raise ModelError(
            f"{bundles[1].name} finds {bundles[1].target}, {bundles[0].name} {bundles[0].target}: "
            "there is nothing to compare"
        )
    one, other = (
        evaluate(
            target=bundles[0].target,
            image_folder=image_folder,
            label_folder=label_folder,
            model=bundle,
            mpp=bundles[0].mpp if mpp is None else mpp,
        )
        for bundle in bundles
    )
    rows = [[scores for _, scores in found.images] for found in (one, other)]
    return ModelComparison(
        one,
        other,
        {
            name: paired_difference(*([scores[name] for scores in values] for values in rows))
            for name in one.mean
            if name in other.mean
        },
    )
