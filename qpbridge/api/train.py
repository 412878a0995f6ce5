"""Training a model: labelled images in, a bundle out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from qpbridge import checks
from qpbridge.api.segment import ModelLike, as_bundle
from qpbridge.errors import CombinationError, RequestError
from qpbridge.evaluation.labelled import DataSource
from qpbridge.hierarchy.provenance import TARGETS
from qpbridge.hierarchy.targets import CLASSES
from qpbridge.models.bundle import Bundle
from qpbridge.models.network import choose_device
from qpbridge.slides.calibration import check_mpp
from qpbridge.training.build import train_bundle
from qpbridge.training.loop import CHECKPOINT, CURVE, TrainConfig
from qpbridge.training.recipe import Recipe, go_on_with, read_recipe
from qpbridge.training.tasks import find_task

HOLDOUT = 0.2
"""Share of the patients that are kept for validation, where no data for it are given."""

PathLike = str | os.PathLike[str]
Paths = PathLike | Sequence[PathLike]


def train(
    data: Paths,
    output: PathLike,
    *,
    target: str = "nuclei",
    validation: Paths = (),
    mpp: float | None = None,
    patient: str | None = None,
    truth: str | None = None,
    init: ModelLike | None = None,
    recipe: PathLike | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    batch_size: int = 8,
    device: str = "auto",
    work: PathLike | None = None,
    restart: bool = False,
    progress: Callable[[Mapping[str, float]], None] | None = None,
) -> Bundle:
    r"""Train a model on labelled images and write it as a bundle.

    A folder of data holds ``images/`` (RGB) and ``labels/`` (PNG or TIFF, 0 is background, every
    other value one object) with the same file stems. Of a project, the annotations are learned
    from that a person reviewed, as `evaluate` takes them. A run that was stopped goes on when
    started again with the same arguments.

    Parameters
    ----------
    data
        Folders or projects (``.qpproj``) to train on; with `recipe`, the folder that holds the
        recipe's folders.
    output
        Folder of the bundle to write; its name is the model's name.
    target
        What the model is to find: ``nuclei``, ``glands`` or ``vessels``.
    validation
        Folders or projects to choose and score the model on, never trained on; none: a fifth of
        the patients of `data`.
    mpp
        µm per pixel of the images. None: of nuclei estimated from their size, of others as the
        model's.
    patient
        Regular expression that finds the patient in a file name, as its first group: ``"^(\d+)_"``.
    truth
        Of projects: class of the objects to learn. None: Nucleus, Gland or Vessel.
    init
        A model to begin with: its weights, µm per pixel and decoder settings. How well it does
        before the first step is told to `progress`, and what was gained by the end is in the
        bundle's ``training["init"]["gain"]``: for each set of validation images the score before
        and after, with a 95 % interval of the difference.
    recipe
        TOML file that names data, split, licences and decoder settings, in place of `validation`,
        `mpp`, `patient` and `truth`.
    minutes, steps
        Time or steps to train; one of them.
    seed
        Of everything random.
    batch_size
        Patches per step.
    device
        ``auto``, ``cpu``, ``cuda[:N]`` or ``mps``.
    work
        Folder for checkpoints and the learning curve. None: ``OUTPUT.training``.
    restart
        Forget the checkpoint of a run that was stopped.
    progress
        Called with every row of the learning curve.

    Returns
    -------
    Bundle
        The model, with its scores. Its version is its own: 0.1.0, or the next one where `output`
        holds a model already.

    Raises
    ------
    RequestError
        If an argument makes no sense, alone or beside another.
    ModelError
        If the model to begin with is unknown, or the device isn't there.
    QpbridgeError
        If data can't be read, or nothing is left to train on.

    Examples
    --------
    >>> bundle = qpbridge.train(pictures, folder / "mine", mpp=0.5, steps=1, batch_size=1,
    ...                         init="nuclei_he", device="cpu")
    >>> bundle.name, bundle.training["steps"]
    ('mine', 1)
    """
    if (minutes is None) == (steps is None):
        raise CombinationError("Give either `minutes` or `steps`.", "minutes")
    checks.choice("target", target, TARGETS)
    check_mpp("mpp", mpp)
    checks.flag("restart", restart)
    if progress is not None:
        checks.function("progress", progress)
    folders, held = _paths("data", data), _paths("validation", validation)
    if not folders:
        raise RequestError("data", data, "a folder or project to train on was expected")
    start = None if init is None else as_bundle(init)
    if recipe is not None:
        if held or mpp or patient or truth or len(folders) != 1:
            raise CombinationError(
                "`recipe` takes one `data` (the folder that its folders are in), and none of "
                "`validation`, `mpp`, `patient` and `truth`.",
                "recipe",
            )
        plan = read_recipe(Path(checks.path("recipe", recipe)), folders[0])
    else:
        plan = _plan(target, folders, held, mpp=mpp, patient=patient, truth=truth)
        if start is not None:
            plan = go_on_with(plan, start)
    if plan.task.target != target:
        raise RequestError("target", target, f"the model is one for {plan.task.target}")
    place = Path(checks.path("output", output))
    scratch = (
        place.with_name(place.name + ".training")
        if work is None
        else Path(checks.path("work", work))
    )
    if restart:
        for name in (CHECKPOINT, CURVE):
            (scratch / name).unlink(missing_ok=True)
    config = TrainConfig(
        plan.network_definition,
        minutes=minutes,
        steps=steps,
        seed=seed,
        batch=batch_size,
        patch=plan.patch,
        learning_rate=TrainConfig.learning_rate / (1 if start is None else 2),
    )
    return train_bundle(
        plan,
        config,
        place,
        work=scratch,
        start=start,
        device=str(choose_device(device)),
        progress=progress,
    )


def _plan(
    target: str,
    data: Sequence[Path],
    validation: Sequence[Path],
    *,
    mpp: float | None,
    patient: str | None,
    truth: str | None,
) -> Recipe:
    """Make a recipe of data, as far as they say what they are."""

    def source(path: Path) -> DataSource:
        if path.is_file():
            return DataSource(path, mpp, truth=truth or str(CLASSES[target]))
        return DataSource(path, mpp, patient=patient)

    return Recipe(
        decoder=target,
        mpp=find_task(target).mpp,
        train=tuple(map(source, data)),
        validation=tuple(map(source, validation)),
        holdout=0.0 if validation else HOLDOUT,
    )


def _paths(field: str, given: Paths) -> list[Path]:
    return [Path(one) for one in checks.paths(field, given)]
