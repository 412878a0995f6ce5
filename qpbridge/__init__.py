"""qpbridge: nuclei in QuPath projects, segmented inside the regions that a pathologist drew."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from qpbridge.errors import QpbridgeError
from qpbridge.objects import ObjectKind, ObjectTable, PathClass, Plane, Shapes
from qpbridge.project import Places, create_project, open_project
from qpbridge.project.model import AnnotationUpdate, Edit, ImageEntry, Project

if TYPE_CHECKING:
    from qpbridge.engine.job import segment_project
    from qpbridge.engine.regions import Selection
    from qpbridge.engine.request import ImageReport, NucleusOptions, Request
    from qpbridge.models.bundle import Bundle, load_bundle

__version__ = "0.1.0"

__all__ = [
    "AnnotationUpdate",
    "Bundle",
    "Edit",
    "ImageEntry",
    "ImageReport",
    "NucleusOptions",
    "ObjectKind",
    "ObjectTable",
    "PathClass",
    "Places",
    "Plane",
    "Project",
    "QpbridgeError",
    "Request",
    "Selection",
    "Shapes",
    "create_project",
    "load_bundle",
    "open_project",
    "segment_project",
]

_HEAVY = {
    "Bundle": "qpbridge.models.bundle",
    "ImageReport": "qpbridge.engine.request",
    "NucleusOptions": "qpbridge.engine.request",
    "Request": "qpbridge.engine.request",
    "Selection": "qpbridge.engine.regions",
    "load_bundle": "qpbridge.models.bundle",
    "segment_project": "qpbridge.engine.job",
}
"""Names whose modules import torch, which takes seconds: only when used."""


def __getattr__(name: str) -> Any:
    if name in _HEAVY:
        return getattr(importlib.import_module(_HEAVY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
