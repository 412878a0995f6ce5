"""Arguments and options that commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from qpbridge.hierarchy.provenance import TARGETS
from qpbridge.project import Places
from qpbridge.slides.calibration import MAX_MPP, MIN_MPP

project_argument = click.argument("project", type=click.Path(path_type=Path, readable=False))

image_option = click.option(
    "--image",
    "images",
    metavar="NAME",
    multiple=True,
    help="Only this image, by name or entry id; may be given several times.  [default: all]",
)

json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON document on stdout instead of text; messages go to stderr.",
)

backend_option = click.option(
    "--backend",
    type=click.Choice(["auto", "paquo", "embedded"]),
    default="auto",
    show_default=True,
    help="How the project is read and written: 'embedded' needs no QuPath.",
)


def folders_options(required: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command work on labelled images: ``image_folder`` and ``label_folder``."""
    folder = click.Path(path_type=Path, exists=True, file_okay=False)
    images = click.option(
        "--images", "image_folder", type=folder, required=required, help="Folder of images."
    )
    labels = click.option(
        "--labels",
        "label_folder",
        type=folder,
        required=required,
        help="Folder of their labels (PNG or TIFF of the same names; 0 is background, every other "
        "value one object; vessels may be one mask).",
    )
    return lambda command: images(labels(command))


def target_option(default: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command say what it works on; `default` says in the help what that is otherwise."""
    return click.option(
        "--target",
        "targets",
        type=click.Choice(TARGETS),
        multiple=True,
        help=f"What to work on; may be given several times.  [default: {default}]",
    )


device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda[:N]|mps",
    help="Where the network runs; 'auto' takes a GPU where there is one. `segment` takes several, "
    "with commas between.",
)


def image_type_option(
    text: str, *words: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command take the type of images, as one of some words; `text` is the help."""
    return click.option("--image-type", type=click.Choice(words, case_sensitive=False), help=text)


def pixel_size_option(
    text: str, *names: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command take µm per pixel; `text` is the help, `names` are those of the option."""
    return click.option(
        *names or ("--mpp",), type=click.FloatRange(MIN_MPP, MAX_MPP), metavar="F", help=text
    )


mpp_option = pixel_size_option(
    "µm per pixel of the images at full resolution, instead of what project and files say."
)

_within_option = click.option(
    "--within",
    metavar="CLASS",
    multiple=True,
    help="Only in annotations of this class; may be given several times.",
)

_selected_option = click.option(
    "--selected",
    metavar="NAME",
    multiple=True,
    help="Only in annotations, or TMA cores, of this name or id; may be given several times.",
)

_selected_from_option = click.option(
    "--selected-from",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="As --selected, for the names or ids in a text file, one a line: a command line is too "
    "short for hundreds.",
)

_whole_image_option = click.option(
    "--whole-image", is_flag=True, help="In the whole image, under no annotation."
)

_tma_option = click.option(
    "--tma",
    is_flag=True,
    help="In TMA cores that are not marked as missing, whatever is drawn in them.  "
    "[default: where there are cores and no annotations]",
)


def selection_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command say in which regions: `within`, `selected`, `whole_image` and `tma`."""

    @functools.wraps(command)
    def with_selection(
        *, selected: tuple[str, ...], selected_from: Path | None, **others: Any
    ) -> None:
        if selected_from is not None:
            selected += _lines(selected_from)
        command(selected=selected, **others)

    return _within_option(
        _selected_option(_selected_from_option(_tma_option(_whole_image_option(with_selection))))
    )


def _lines(file: Path) -> tuple[str, ...]:
    """Read names, one a line; a file without any would select everything, so it is refused."""
    try:
        with click.open_file(str(file), encoding="utf-8-sig") as text:
            lines = tuple(line.rstrip("\r\n") for line in text if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"--selected-from {file}: no UTF-8 text: {error}") from error
    if not lines:
        raise click.UsageError(f"--selected-from {file}: no names in it; give one a line")
    return lines


model_mpp_option = pixel_size_option(
    "µm per pixel that the model expects, for a bundle from elsewhere that doesn't say.",
    "--model-mpp",
)

trust_option = click.option(
    "--trust",
    is_flag=True,
    help="Let the model be TorchScript, a program of whoever made it, which could harm your files. "
    "Noted for its path, as long as the file stays the same.",
)

_relocate_option = click.option(
    "--relocate",
    "moved",
    metavar="OLD=NEW",
    multiple=True,
    help=r"What was in the folder OLD, of any machine, is in NEW now, as in "
    r"'D:\slides=/data/slides'; may be given several times.",
)

_search_option = click.option(
    "--search",
    type=click.Path(path_type=Path),
    metavar="DIR",
    multiple=True,
    help="Search this folder, and all in it, for images that are missing; may be given several "
    "times.",
)


def places_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command say where images are that moved: it gets them as one argument `places`."""

    @functools.wraps(command)
    def with_places(*, moved: tuple[str, ...], search: tuple[Path, ...], **others: Any) -> None:
        command(places=Places.parse(moved, search), **others)

    return _relocate_option(_search_option(with_places))
