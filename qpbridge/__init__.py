"""qpbridge: nuclei, glands and vessels in QuPath projects, found in the regions that a person drew.

What `dir(qpbridge)` shows is public: a verb for each command, and the values that these take and
give. All modules below it are internal, and may move.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from qpbridge import _table_methods as _table_methods
from qpbridge._version import __version__ as __version__
from qpbridge.errors import (
    CombinationError,
    FormatError,
    MissingExtraError,
    MissingImageError,
    ModelError,
    PixelSizeError,
    ProjectError,
    QpbridgeError,
    RequestError,
    SelectionError,
    SlideError,
    UnknownImageError,
    UnknownMeasurementError,
)
from qpbridge.objects import (
    ImageType,
    MeasurementTable,
    ObjectKind,
    ObjectTable,
    PathClass,
    Plane,
    RoiKind,
    Shapes,
    Stains,
)
from qpbridge.project import NewImage, Places, open_project
from qpbridge.project.interface import (
    AnnotationUpdate,
    Edit,
    ImageEntry,
    MeasurementUpdate,
    ObjectChange,
    Project,
)

if TYPE_CHECKING:
    from qpbridge.api import edit
    from qpbridge.api.annotate import AnnotateReport, annotate
    from qpbridge.api.calibrate import CalibrateReport, calibrate
    from qpbridge.api.compare import CompareReport, TargetChanges, compare
    from qpbridge.api.compare_models import ModelComparison, compare_models
    from qpbridge.api.create import create_project
    from qpbridge.api.doctor import doctor
    from qpbridge.api.evaluate import Evaluation, evaluate
    from qpbridge.api.export import GeojsonReport, TableReport, export_table, write_geojson
    from qpbridge.api.history import HistoryReport, history
    from qpbridge.api.image_info import SlideInfo, image_info
    from qpbridge.api.importing import import_objects
    from qpbridge.api.info import InfoReport, ProjectInfo, info
    from qpbridge.api.measure import measure
    from qpbridge.api.models import list_models
    from qpbridge.api.predict import Prediction, predict
    from qpbridge.api.quality import QualityReport, RegionQuality, quality
    from qpbridge.api.relocate import relocate
    from qpbridge.api.remove import RemoveReport, remove
    from qpbridge.api.segment import segment
    from qpbridge.api.train import train
    from qpbridge.api.undo import UndoReport, undo
    from qpbridge.engine.importing import ImportReport
    from qpbridge.engine.measuring.job import measure_project
    from qpbridge.engine.measuring.request import MeasureReport, MeasureRequest, Surroundings
    from qpbridge.engine.segmenting.job import segment_project
    from qpbridge.engine.segmenting.request import ImageReport, Progress, Request
    from qpbridge.hierarchy.regions import Selection
    from qpbridge.models.bundle import Bundle, load_bundle
    from qpbridge.prediction.options import NucleusOptions

_HOMES = {
    "AnnotateReport": "api.annotate",
    "Bundle": "models.bundle",
    "CalibrateReport": "api.calibrate",
    "Evaluation": "api.evaluate",
    "GeojsonReport": "api.export",
    "HistoryReport": "api.history",
    "ImageReport": "engine.segmenting.request",
    "ImportReport": "engine.importing",
    "InfoReport": "api.info",
    "MeasureReport": "engine.measuring.request",
    "MeasureRequest": "engine.measuring.request",
    "CompareReport": "api.compare",
    "ModelComparison": "api.compare_models",
    "NucleusOptions": "prediction.options",
    "Prediction": "api.predict",
    "Progress": "engine.segmenting.request",
    "ProjectInfo": "api.info",
    "QualityReport": "api.quality",
    "RegionQuality": "api.quality",
    "RemoveReport": "api.remove",
    "Request": "engine.segmenting.request",
    "Selection": "hierarchy.regions",
    "Surroundings": "engine.measuring.request",
    "TableReport": "api.export",
    "TargetChanges": "api.compare",
    "UndoReport": "api.undo",
    "SlideInfo": "api.image_info",
    "annotate": "api.annotate",
    "compare": "api.compare",
    "compare_models": "api.compare_models",
    "calibrate": "api.calibrate",
    "create_project": "api.create",
    "doctor": "api.doctor",
    "edit": "api",
    "evaluate": "api.evaluate",
    "export_table": "api.export",
    "history": "api.history",
    "image_info": "api.image_info",
    "import_objects": "api.importing",
    "info": "api.info",
    "list_models": "api.models",
    "load_bundle": "models.bundle",
    "measure": "api.measure",
    "measure_project": "engine.measuring.job",
    "predict": "api.predict",
    "quality": "api.quality",
    "relocate": "api.relocate",
    "remove": "api.remove",
    "segment": "api.segment",
    "segment_project": "engine.segmenting.job",
    "train": "api.train",
    "undo": "api.undo",
    "write_geojson": "api.export",
}
"""Where names are that are imported when they are used: behind most is torch or scipy."""

__all__ = [
    "AnnotateReport",
    "AnnotationUpdate",
    "Bundle",
    "CalibrateReport",
    "CombinationError",
    "CompareReport",
    "Edit",
    "Evaluation",
    "FormatError",
    "GeojsonReport",
    "HistoryReport",
    "ImageEntry",
    "ImageReport",
    "ImageType",
    "ImportReport",
    "InfoReport",
    "MeasureReport",
    "MeasureRequest",
    "MeasurementTable",
    "MeasurementUpdate",
    "MissingExtraError",
    "MissingImageError",
    "ModelComparison",
    "ModelError",
    "NewImage",
    "NucleusOptions",
    "ObjectChange",
    "ObjectKind",
    "ObjectTable",
    "PathClass",
    "PixelSizeError",
    "Places",
    "Plane",
    "Prediction",
    "Progress",
    "Project",
    "ProjectError",
    "ProjectInfo",
    "QpbridgeError",
    "QualityReport",
    "RegionQuality",
    "RemoveReport",
    "Request",
    "RequestError",
    "RoiKind",
    "Selection",
    "SelectionError",
    "Shapes",
    "SlideError",
    "SlideInfo",
    "Stains",
    "Surroundings",
    "TableReport",
    "TargetChanges",
    "UndoReport",
    "UnknownImageError",
    "UnknownMeasurementError",
    "annotate",
    "calibrate",
    "compare",
    "compare_models",
    "create_project",
    "doctor",
    "edit",
    "evaluate",
    "export_table",
    "history",
    "image_info",
    "import_objects",
    "info",
    "list_models",
    "load_bundle",
    "measure",
    "measure_project",
    "open_project",
    "predict",
    "quality",
    "relocate",
    "remove",
    "segment",
    "segment_project",
    "train",
    "undo",
    "write_geojson",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        home = importlib.import_module(f"qpbridge.{_HOMES[name]}")
        found = getattr(home, name, None) or importlib.import_module(f"{home.__name__}.{name}")
        globals()[name] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
