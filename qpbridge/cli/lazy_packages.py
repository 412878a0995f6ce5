"""Packages of others that import all of their modules at once, imported piece by piece.

``import monai`` imports every module of MONAI, and with them pandas, matplotlib and scikit-image:
two to three times what torch takes, for a network whose own module needs a tenth of it. For the
program, whose process nobody else's code runs in, a package's ``from .module import name`` is
carried out when the name is asked for; what else its ``__init__`` holds makes it run as a whole.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import version
from importlib.util import find_spec, resolve_name
from pathlib import Path
from types import ModuleType
from typing import Any


def import_in_pieces(root: str) -> None:
    """Let a package, and those in it, import their modules when these are used.

    A package that is imported already stays as it is.
    """
    if root not in sys.modules:
        sys.meta_path.insert(0, _Finder(root))


class _Finder(MetaPathFinder):
    """Finds what the usual finder does, and gives packages another loader."""

    def __init__(self, root: str) -> None:
        self.root = root

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != self.root:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.submodule_search_locations and spec.loader and spec.origin:
            spec.loader = _Pieces(spec.loader, Path(spec.origin))
        return spec


class _Pieces(Loader):
    """Loads a package without running its ``__init__``."""

    def __init__(self, whole: Loader, source: Path) -> None:
        self.whole, self.source = whole, source

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.whole.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        package = module.__name__
        homes, others = _names(self.source.read_text(encoding="utf-8"), package)

        def find(name: str) -> Any:
            if name in homes:
                home, original = homes[name]
                value = getattr(importlib.import_module(home), original)
                setattr(module, name, value)
                return value
            if not name.startswith("__") and find_spec(f"{package}.{name}") is not None:
                return importlib.import_module(f"{package}.{name}")
            if name in others and vars(module).pop("__getattr__", None):
                self.whole.exec_module(module)
                return getattr(module, name)
            raise AttributeError(f"module {package!r} has no attribute {name!r}")

        vars(module)["__getattr__"] = find
        if "__version__" in others:
            vars(module)["__version__"] = version(package)


def _names(source: str, package: str) -> tuple[dict[str, tuple[str, str]], set[str]]:
    """Tell where the names of a package come from: of its modules, or its own doing."""
    homes: dict[str, tuple[str, str]] = {}
    others: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            home = resolve_name("." * node.level + (node.module or ""), package)
            homes |= {a.asname or a.name: (home, a.name) for a in node.names}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            others |= {(a.asname or a.name).partition(".")[0] for a in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            others.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            others.add(node.name)
    return homes, others - set(homes)
