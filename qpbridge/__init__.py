"""qpbridge: nuclei in QuPath projects, segmented inside the regions that a pathologist drew."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from qpbridge import _table_methods as _table_methods
from qpbridge._version import __version__ as __version__
from qpbridge.errors import QpbridgeError
from qpbridge.objects import MeasurementTable, ObjectKind, ObjectTable, PathClass, Plane, Shapes
from qpbridge.project import Places, create_project, open_project
from qpbridge.project.interface import (
    AnnotationUpdate,
    Edit,
    ImageEntry,
    MeasurementUpdate,
    Project,
)

if TYPE_CHECKING:
    from qpbridge.engine.measuring.job import measure_project
    from qpbridge.engine.measuring.request import MeasureReport, MeasureRequest, Surroundings
    from qpbridge.engine.segmenting.job import segment_project
    from qpbridge.engine.segmenting.request import ImageReport, NucleusOptions, Request
    from qpbridge.hierarchy.regions import Selection
    from qpbridge.models.bundle import Bundle, load_bundle

__all__ = [
    "AnnotationUpdate",
    "Bundle",
    "Edit",
    "ImageEntry",
    "ImageReport",
    "MeasureReport",
    "MeasureRequest",
    "MeasurementTable",
    "MeasurementUpdate",
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
    "Surroundings",
    "create_project",
    "load_bundle",
    "measure_project",
    "open_project",
    "segment_project",
]

_HEAVY = {
    "Bundle": "qpbridge.models.bundle",
    "ImageReport": "qpbridge.engine.segmenting.request",
    "NucleusOptions": "qpbridge.engine.segmenting.request",
    "MeasureReport": "qpbridge.engine.measuring.request",
    "MeasureRequest": "qpbridge.engine.measuring.request",
    "Request": "qpbridge.engine.segmenting.request",
    "Selection": "qpbridge.hierarchy.regions",
    "Surroundings": "qpbridge.engine.measuring.request",
    "load_bundle": "qpbridge.models.bundle",
    "measure_project": "qpbridge.engine.measuring.job",
    "segment_project": "qpbridge.engine.segmenting.job",
}
"""Names whose modules import torch or scipy, which takes long: only when used."""


def __getattr__(name: str) -> Any:
    if name in _HEAVY:
        return getattr(importlib.import_module(_HEAVY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
