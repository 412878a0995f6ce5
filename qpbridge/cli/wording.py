"""The library's words in those of the command line: options in place of the names of arguments."""

from __future__ import annotations

import re
from typing import Any

import click

from qpbridge.errors import CombinationError, QpbridgeError, RequestError
from qpbridge.texts import printable

OPTIONS = {
    "annotate": "--annotate",
    "area_kind": "--write",
    "batch_size": "--batch-size",
    "before": "--before",
    "cell_expansion": "--cell-expansion",
    "data": "--data",
    "delaunay": "--delaunay",
    "classes": "--classes",
    "clusters": "--clusters",
    "columns": "--columns",
    "density": "--density",
    "device": "--device",
    "encoding": "--encoding",
    "excel": "--excel",
    "features": "--features",
    "force": "--force",
    "grading": "--grading",
    "image": "--image",
    "image_folder": "--images",
    "image_type": "--image-type",
    "intensities": "--intensities",
    "images": "--image",
    "init": "--init",
    "kind": "--format",
    "label_folder": "--labels",
    "minutes": "--minutes",
    "model": "--model",
    "model_mpp": "--model-mpp",
    "moved": "--relocate",
    "mpp": "--mpp",
    "of_class": "--class",
    "orientation": "--orientation",
    "output": "--output",
    "patient": "--patient",
    "positivity": "--positivity",
    "recipe": "--recipe",
    "relocate": "'qpbridge relocate'",
    "restore_deleted": "--restore-deleted",
    "rows": "--rows",
    "search": "--search",
    "seed": "--seed",
    "selected": "--selected",
    "separator": "--separator",
    "smooth": "--smooth",
    "stains": "--stains",
    "steps": "--steps",
    "target": "--target",
    "targets": "--target",
    "tile": "--tile",
    "tma": "--tma",
    "trust": "--trust",
    "truth": "--truth",
    "validation": "--validation",
    "whole_image": "--whole-image",
    "within": "--within",
    "workers": "--workers",
}
"""What stands for an argument of the library that its messages name, in backquotes."""

_QUOTED = re.compile(r"`(\w+)`")


def in_options(text: str) -> str:
    """Name options where a message of the library names arguments."""
    return _QUOTED.sub(lambda found: OPTIONS.get(found[1], found[0]), text)


def describe_error(error: QpbridgeError) -> str:
    """Say on the command line what is wrong."""
    text = in_options(str(error))
    if isinstance(error, CombinationError):
        return text
    if isinstance(error, RequestError) and error.field in OPTIONS:
        text = f"{OPTIONS[error.field]} {_as_typed(error.value)}: {in_options(error.problem)}"
    return printable(text, lines=True)


def _as_typed(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ",".join(map(_as_typed, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


class Command(click.Command):
    """A command whose errors speak of its options; a wrong value is a wrong use of it."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        try:
            return super().invoke(ctx)
        except RequestError as error:
            raise click.UsageError(describe_error(error), ctx) from error
        except QpbridgeError as error:
            raise click.ClickException(describe_error(error)) from error
