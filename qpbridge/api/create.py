"""A new project around slides, with the tissue or the whole of each annotated on demand."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import shapely

from qpbridge import checks
from qpbridge.errors import RequestError, SlideError
from qpbridge.measurements.staining import PICTURE, as_type, estimate_type
from qpbridge.objects import ImageType, ObjectKind, ObjectTable, RoiKind, Shapes
from qpbridge.project import NewImage, Project
from qpbridge.project import create_project as create_around
from qpbridge.project.interface import Edit
from qpbridge.slides.calibration import check_mpp, pixel_size
from qpbridge.slides.several import tell_choice
from qpbridge.slides.slide import Slide, open_slide

ANNOTATIONS = ("tissue", "full")
"""What can be annotated of a new slide."""

_log = logging.getLogger("qpbridge")


def create_project(
    path: str | os.PathLike[str],
    images: str | os.PathLike[str] | NewImage | Iterable[str | os.PathLike[str] | NewImage],
    *,
    annotate: str | Sequence[str] | None = None,
    mpp: float | None = None,
    image_type: ImageType | str | None = None,
    note: Callable[[str], None] = _log.warning,
    broken: Callable[[Path, SlideError], None] | None = None,
) -> Project:
    """Make a new QuPath project (in the form of 0.6) around images.

    Images may share a name, but not a file. Nothing is left behind if it fails.

    Parameters
    ----------
    path
        The ``.qpproj`` file to make; its folder is made where missing.
    images
        Slides, or one, in the order in which QuPath shows them; or `NewImage`, which are taken as
        they say.
    annotate
        ``tissue``: an annotation around the tissue of each slide; ``full``: one of each whole
        slide; or both.
    mpp
        µm per pixel of the slides, instead of what their files say.
    image_type
        ``H&E``, ``H-DAB``, ``brightfield`` (other), ``fluorescence``, ``other``, or ``estimate``:
        what the pixels tell, if they leave no doubt. None: QuPath asks when an image is opened.
    note
        Gets a sentence on each slide without tissue, or without a pixel size, or that is one of
        several images in its file.
    broken
        Gets each slide that can't be read, with the reason, and the project is made of the others;
        None: it is not made then.

    Returns
    -------
    Project
        The project, open.

    Raises
    ------
    RequestError
        If an argument makes no sense.
    SlideError
        If slides can't be read, and there is no `broken`, or none can: names all of them.
    ProjectError
        If the project exists, or its folder holds another one's data, a slide is given twice, or
        nothing can be written there.

    Examples
    --------
    >>> new = qpbridge.create_project(folder / "new.qpproj", [slide], annotate="full")
    >>> len(new), new[0].read().objects.names
    (1, {0: 'Whole image'})
    """
    file = Path(checks.path("path", path))
    wanted = checks.choices("annotate", annotate, ANNOTATIONS)
    given = [images] if isinstance(images, str | os.PathLike | NewImage) else images
    if not isinstance(given, Iterable):
        raise RequestError("images", images, "the path of a slide, or several, was expected")
    check_mpp("mpp", mpp)
    kind = None if image_type is None else as_type("image_type", image_type)
    checks.function("note", note)
    if broken is not None:
        checks.function("broken", broken)
    described: list[NewImage] = []
    drawn: list[list[ObjectTable]] = []
    kinds: list[ImageType | None] = []
    unread: dict[Path, SlideError] = {}
    for image in given:
        if isinstance(image, NewImage):
            for field, value in (("annotate", wanted), ("mpp", mpp), ("image_type", image_type)):
                if value:
                    raise RequestError(field, value, "needs the slides themselves, as paths")
            described.append(image)
            drawn.append([])
            kinds.append(None)
            continue
        name = Path(checks.path("images", image))
        try:
            with open_slide(name) as slide:
                if mpp is not None:
                    slide.mpp = (mpp, mpp)
                new = describe_slide(slide)
                if choice := tell_choice(slide.images, slide.series):
                    note(f"{slide.path.name}: {choice}")
                tables = _annotations(slide, wanted, note)
                _check_pixel_size(slide, note)
                sure = kind if kind or image_type is None else _sure_type(slide, note)
        except SlideError as error:
            unread[name] = error
            continue
        described.append(new)
        drawn.append(tables)
        kinds.append(sure)
    if unread and (broken is None or not described):
        raise _all_of(list(unread.values()))
    for name, why in unread.items():
        assert broken is not None
        broken(name, why)
    created = create_around(file, described)
    for entry, tables, sure in zip(created.images, drawn, kinds, strict=True):
        for table in tables:
            entry.apply(Edit(add=table))
        if sure is not None:
            entry.apply(Edit(image_type=sure))
    return created


def _all_of(errors: Sequence[SlideError]) -> SlideError:
    """Make one error of several."""
    if len(errors) == 1:
        return errors[0]
    listed = "".join(f"\n  {error}" for error in errors)
    return SlideError(f"{len(errors)} images can't be read, and no project is made:{listed}")


def describe_slide(slide: Slide) -> NewImage:
    """Describe an open slide as QuPath would."""
    return NewImage(
        path=slide.path.absolute(),
        name=slide.path.name,
        width=slide.width,
        height=slide.height,
        mpp=slide.mpp,
        levels=tuple((v.downsample, v.width, v.height) for v in slide.levels),
        magnification=slide.magnification,
        tile=slide.tile_size,
        thumbnail=slide.thumbnail(1000, 600),
        series=slide.series,
    )


def _annotations(
    slide: Slide, wanted: Sequence[str], note: Callable[[str], None]
) -> list[ObjectTable]:
    tables = []
    if "full" in wanted:
        shape = Shapes.corners(RoiKind.RECTANGLE, 0, 0, slide.width, slide.height)
        tables.append(_named(shape, "Whole image"))
    if "tissue" in wanted:
        from qpbridge.artefacts.tissue import tissue_outline  # takes time to import

        outlines = tissue_outline(slide)
        if outlines:
            shape = Shapes.from_geometries([shapely.MultiPolygon(outlines)])
            tables.append(_named(shape, "Tissue"))
        else:
            note(f"{slide.path.name}: no tissue found, no annotation made")
    return tables


def _named(shape: Shapes, name: str) -> ObjectTable:
    return ObjectTable.new(ObjectKind.ANNOTATION, shape).replace(names={0: name})


def _sure_type(slide: Slide, note: Callable[[str], None]) -> ImageType | None:
    found, sure = estimate_type(slide.thumbnail(PICTURE, PICTURE))
    if not sure:
        note(f"{slide.path.name}: the type of the image is in doubt; give it by `image_type`")
    return found if sure else None


def _check_pixel_size(slide: Slide, note: Callable[[str], None]) -> None:
    try:
        pixel_size(slide.path.name, None, slide.mpp)
    except SlideError as error:
        note(f"Note: {error}")
