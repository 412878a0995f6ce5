"""What the tests of projects share."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from qpbridge.project import NewImage
from qpbridge.project.files import replacement


def png(path: Path, width: int = 100, height: int = 80) -> NewImage:
    Image.new("RGB", (width, height), (230, 200, 220)).save(path)
    return NewImage(path=path, name=path.name, width=width, height=height)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }


class Trap:
    """Counts calls of some functions of `os` and swaps of files, and raises an error at one.

    Set `count` to 0 and `at` to the call that is to fail; -1: none.
    """

    def __init__(self, names: tuple[str, ...], error: BaseException) -> None:
        self.names, self.error = names, error
        self.count, self.at = 0, -1

    def set(self, context: pytest.MonkeyPatch) -> None:
        for name in self.names:
            context.setattr(os, name, self._trapped(getattr(os, name)))
        context.setattr(replacement, "exchange", self._trapped(replacement.exchange))

    def _trapped(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            if self.count == self.at:
                raise self.error
            return real(*args, **kwargs)

        return call
