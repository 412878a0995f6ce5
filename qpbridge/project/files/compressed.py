"""Text files that are written whole or not at all, compressed if their name says so."""

from __future__ import annotations

import contextlib
import gzip
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from qpbridge.project.files.atomic import atomic_file


@contextlib.contextmanager
def atomic_text(path: Path, ending: str) -> Iterator[TextIO]:
    """Open a text file (UTF-8) for writing that takes its place only when complete.

    Parameters
    ----------
    path
        Compressed if it ends in ``.gz`` or ``.zip``.
    ending
        Of the file inside a ``.zip``.

    Raises
    ------
    ProjectError
        If it can't be written; what was there is untouched.
    """
    packing = path.suffix.lower()
    with contextlib.ExitStack() as stack:
        file: BinaryIO = stack.enter_context(atomic_file(path))
        if packing == ".gz":
            packed = gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6)
            file = cast(BinaryIO, stack.enter_context(packed))
        elif packing == ".zip":
            name = path.stem if path.stem.lower().endswith(ending) else path.stem + ending
            archive = stack.enter_context(
                zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6)
            )
            entry = archive.open(name, "w", force_zip64=True)
            file = cast(BinaryIO, stack.enter_context(entry))
        text = io.TextIOWrapper(file, "utf-8", "replace", newline="\n")
        try:
            yield text
            text.flush()
        finally:
            text.detach()  # or it would close the file below
