"""The Java classes that QuPath's files are made of (0.2.3 to 0.7.0 agree on all of them)."""

from __future__ import annotations

from qpbridge.javastream.build import ClassSpec
from qpbridge.objects import ObjectKind

STRING = "Ljava/lang/String;"
ROI = "qupath.lib.roi."
OBJECTS = "qupath.lib.objects."
MEASUREMENTS = "qupath.lib.measurements."
WORKFLOW = "qupath.lib.plugins.workflow."

ROOT = f"{OBJECTS}PathRootObject"
BOOLEAN = "java.lang.Boolean"
METADATA = f"{OBJECTS}MetadataMap"
PATH_CLASS = f"{OBJECTS}classes.PathClass"
HIERARCHY = f"{OBJECTS}hierarchy.PathObjectHierarchy"
TMA_GRID = f"{OBJECTS}hierarchy.DefaultTMAGrid"
NUMERIC = f"{MEASUREMENTS}NumericMeasurementList$"
FLOAT_LIST, DOUBLE_LIST = f"{NUMERIC}FloatList", f"{NUMERIC}DoubleList"
MEASUREMENT_LIST = f"{MEASUREMENTS}DefaultMeasurementList"
DOUBLE_MEASUREMENT = f"{MEASUREMENTS}DoubleMeasurement"
FLOAT_MEASUREMENT = f"{MEASUREMENTS}FloatMeasurement"
IMAGE_TYPE = "qupath.lib.images.ImageData$ImageType"
STAINS = "qupath.lib.color.ColorDeconvolutionStains"
HISTORY = f"{WORKFLOW}Workflow"
SCRIPT_STEP = f"{WORKFLOW}DefaultScriptableWorkflowStep"
CLASSIFIER_STEP = f"{WORKFLOW}RunSavedClassifierWorkflowStep"
PLUGIN_STEP = f"{WORKFLOW}SimplePluginWorkflowStep"

KINDS = {
    f"{OBJECTS}PathAnnotationObject": ObjectKind.ANNOTATION,
    f"{OBJECTS}PathDetectionObject": ObjectKind.DETECTION,
    f"{OBJECTS}PathCellObject": ObjectKind.CELL,
    f"{OBJECTS}PathTileObject": ObjectKind.TILE,
    f"{OBJECTS}TMACoreObject": ObjectKind.TMA_CORE,
}
CLASS_OF_KIND = {kind: name for name, kind in KINDS.items()}

POLYGON = f"{ROI}PolygonROI$SerializationProxy"
POLYLINE = f"{ROI}PolylineROI$SerializationProxy"
POINTS = f"{ROI}PointsROI$SerializationProxy"
RECTANGLE = f"{ROI}RectangleROI$SerializationProxy"
ELLIPSE = f"{ROI}EllipseROI$SerializationProxy"
LINE = f"{ROI}LineROI$SerializationProxy"
GEOMETRY = f"{ROI}GeometryROI$WKBSerializationProxy"
AREA = f"{ROI}AreaROI$SerializationProxy"

_CORNERS = (
    *(("I", "c"), ("I", "t"), ("D", "x"), ("D", "x2"), ("D", "y"), ("D", "y2"), ("I", "z")),
    ("L", "name", STRING),
)
_PLANE = (("I", "c"), ("I", "t"), ("I", "z"))
_VERTICES = (("[", "x", "[F"), ("[", "y", "[F"))

SPECS = {
    "[B": ClassSpec(-5984413125824719648, 2),
    "[D": ClassSpec(4514449696888150558, 2),
    "[F": ClassSpec(836686056779680834, 2),
    "[Ljava.lang.Object;": ClassSpec(-8012369246846506644, 2),
    "java.lang.Boolean": ClassSpec(-3665804199014368530, 2, None, (("Z", "value"),)),
    "java.lang.Enum": ClassSpec(0, 0x12),
    "java.lang.Integer": ClassSpec(1360826667806852920, 2, "java.lang.Number", (("I", "value"),)),
    "java.lang.Number": ClassSpec(-8742448824652078965, 2),
    "java.util.ArrayList": ClassSpec(8683452581122892189, 3, None, (("I", "size"),)),
    "java.util.HashMap": ClassSpec(
        362498820763181265, 3, None, (("F", "loadFactor"), ("I", "threshold"))
    ),
    "java.util.LinkedHashMap": ClassSpec(
        3801124242820219131, 2, "java.util.HashMap", (("Z", "accessOrder"),)
    ),
    "java.util.Locale": ClassSpec(
        9149081749638150636,
        3,
        None,
        (
            ("I", "hashcode"),
            *(("L", n, STRING) for n in ("country", "extensions", "language", "script", "variant")),
        ),
    ),
    IMAGE_TYPE: ClassSpec(0, 0x12, "java.lang.Enum"),
    STAINS: ClassSpec(1, 0x0C),
    HISTORY: ClassSpec(1, 0x0C),
    SCRIPT_STEP: ClassSpec(
        1,
        2,
        None,
        (("L", "map", "Ljava/util/Map;"), ("L", "name", STRING), ("L", "script", STRING)),
    ),
    MEASUREMENT_LIST: ClassSpec(1, 2, None, (("L", "list", "Ljava/util/ArrayList;"),)),
    DOUBLE_MEASUREMENT: ClassSpec(1, 2, None, (("D", "value"), ("L", "name", STRING))),
    f"{NUMERIC}AbstractNumericMeasurementList": ClassSpec(
        1,
        2,
        None,
        (("Z", "isClosed"), ("L", "map", "Ljava/util/Map;"), ("L", "names", "Ljava/util/List;")),
    ),
    FLOAT_LIST: ClassSpec(
        1, 2, f"{NUMERIC}AbstractNumericMeasurementList", (("[", "values", "[F"),)
    ),
    DOUBLE_LIST: ClassSpec(
        1, 2, f"{NUMERIC}AbstractNumericMeasurementList", (("[", "values", "[D"),)
    ),
    METADATA: ClassSpec(1, 0x0C),
    f"{OBJECTS}PathObject": ClassSpec(1, 0x0C),
    f"{OBJECTS}PathROIObject": ClassSpec(1, 0x0C, f"{OBJECTS}PathObject"),
    ROOT: ClassSpec(1, 0x0C, f"{OBJECTS}PathObject"),
    f"{OBJECTS}PathAnnotationObject": ClassSpec(1, 0x0C, f"{OBJECTS}PathROIObject"),
    f"{OBJECTS}PathDetectionObject": ClassSpec(1, 0x0C, f"{OBJECTS}PathROIObject"),
    f"{OBJECTS}PathCellObject": ClassSpec(1, 0x0C, f"{OBJECTS}PathDetectionObject"),
    f"{OBJECTS}PathTileObject": ClassSpec(1, 0x0C, f"{OBJECTS}PathDetectionObject"),
    f"{OBJECTS}TMACoreObject": ClassSpec(1, 0x0C, f"{OBJECTS}PathROIObject"),
    PATH_CLASS: ClassSpec(
        1,
        2,
        None,
        (
            ("L", "colorRGB", "Ljava/lang/Integer;"),
            ("L", "name", STRING),
            ("L", "parentClass", f"L{PATH_CLASS.replace('.', '/')};"),
        ),
    ),
    HIERARCHY: ClassSpec(
        1,
        2,
        None,
        (
            ("L", "rootObject", "Lqupath/lib/objects/PathObject;"),
            ("L", "tmaGrid", "Lqupath/lib/objects/hierarchy/TMAGrid;"),
        ),
    ),
    RECTANGLE: ClassSpec(1, 2, None, _CORNERS),
    ELLIPSE: ClassSpec(1, 2, None, _CORNERS),
    LINE: ClassSpec(1, 2, None, _CORNERS),
    POLYGON: ClassSpec(
        1,
        2,
        None,
        (
            *_PLANE,
            ("L", "name", STRING),
            ("L", "stats", "Lqupath/lib/roi/ClosedShapeStatistics;"),
            *_VERTICES,
        ),
    ),
    POLYLINE: ClassSpec(1, 2, None, (*_PLANE, *_VERTICES)),
    POINTS: ClassSpec(1, 2, None, (*_PLANE, ("L", "name", STRING), *_VERTICES)),
    GEOMETRY: ClassSpec(
        1,
        2,
        None,
        (
            *_PLANE,
            ("L", "stats", "Lqupath/lib/roi/GeometryROI$GeometryStats;"),
            ("[", "wkb", "[B"),
        ),
    ),
}
"""All classes that qpbridge writes, as in section 7 of the format notes."""
