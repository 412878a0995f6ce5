"""Two runs on one project at the same time share the work, and neither calls that a failure."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from cli_helpers import annotate
from slide_factory import make_slide

import qpbridge
from qpbridge.engine.segmenting import spool
from qpbridge.engine.segmenting.request import Progress, Request
from qpbridge.engine.segmenting.spool import FOLDER, open_spool, remove_done
from qpbridge.errors import LockedError, ProjectError
from qpbridge.models.bundle import load_bundle
from qpbridge.objects import RoiKind, Shapes
from qpbridge.project import NewImage, create_project, open_project

TILES = b"qpbridge tiles 2\n" + bytes(32)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "lab" / "project.qpproj"
    slides = [make_slide(tmp_path / f"{n}.svs", width=300, height=260, seed=n).path for n in (1, 2)]
    size = {"width": 300, "height": 260, "mpp": (0.5, 0.5)}
    create_project(path, [NewImage(path=slide, name=slide.name, **size) for slide in slides])
    region = Shapes.corners(RoiKind.RECTANGLE, 20, 20, 280, 240)
    for number in range(2):
        annotate(path, (region, "Tumor", "a"), image=number)
    return path


def run(path: Path, **hooks: object) -> list[str]:
    reports = qpbridge.segment_project(
        open_project(path, "embedded"),
        load_bundle("nuclei_he"),
        Request(device="cpu"),
        progress=Progress(**hooks),  # type: ignore[arg-type]
    )
    return [report.status for report in reports]


def objects(path: Path) -> list[set[bytes]]:
    entries = open_project(path, "embedded").images
    return [{i.tobytes() for i in entry.read().objects.ids} for entry in entries]


def test_each_does_what_the_other_does_not(project: Path) -> None:
    begun, second_done = threading.Event(), threading.Event()
    found: dict[str, list[str]] = {}

    def one() -> None:
        def start(name: str, *_: object) -> None:
            begun.set()
            assert second_done.wait(60)

        found["one"] = run(project, start_image=start)

    thread = threading.Thread(target=one)
    thread.start()
    assert begun.wait(60)
    found["two"] = run(project, end_image=lambda report: second_done.set())
    thread.join()
    assert found == {
        "one": ["written", "done by another run"],
        "two": ["done by another run", "written"],
    }
    together = objects(project)
    assert all(len(ids) > 3 for ids in together)
    assert not (project.parent / FOLDER).exists()
    assert run(project) == ["written", "written"]  # later, everything is done again
    assert objects(project) == together


def test_one_that_stops_is_gone_on_with(project: Path) -> None:
    """The other waits for it, and does what it left."""
    begun = threading.Event()
    stopped: list[str] = []

    def one() -> None:
        def start(name: str, *_: object) -> None:
            begun.set()
            assert second_done.wait(60)
            raise ProjectError("stopped")

        reports = qpbridge.segment_project(
            open_project(project, "embedded"),
            load_bundle("nuclei_he"),
            Request(device="cpu"),
            images="1.svs",
            progress=Progress(start_image=start),
        )
        stopped.extend(report.status for report in reports)

    second_done = threading.Event()
    thread = threading.Thread(target=one)
    thread.start()
    assert begun.wait(60)
    assert run(project, end_image=lambda report: second_done.set()) == ["written", "written"]
    thread.join()
    assert stopped == ["failed"]


def test_nobody_waits_for_one_that_stands_still(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "STALLED", 0.3)
    with open_spool(project, "1", "nuclei", bytes(32)):
        assert run(project) == ["failed", "written"]


def test_tiles_of_images_that_are_done_go(project: Path) -> None:
    """A run was killed after the result was written; or before: then its tiles stay."""
    assert run(project) == ["written", "written"]
    step = open_project(project, "embedded").images[0].read().workflow[-1]
    done = bytes.fromhex(step.parameters["run"].split()[1])
    for name, head in (("1-nuclei", done), ("2-nuclei", bytes(8)), ("1-glands", done)):
        folder = project.parent / FOLDER / name
        folder.mkdir(parents=True)
        (folder / "tiles").write_bytes(TILES + head)
    qpbridge.segment_project(
        open_project(project, "embedded"), load_bundle("nuclei_he"), images="2.svs"
    )
    left = {path.parent.name for path in (project.parent / FOLDER).rglob("tiles")}
    assert left == {"1-glands"}  # of image 2, the run itself has begun anew


def test_tiles_in_use_stay(project: Path) -> None:
    with open_spool(project, "1", "nuclei", bytes(32)):
        remove_done(project, lambda *_: True)
        assert (project.parent / FOLDER / "1-nuclei" / "tiles").exists()
        with pytest.raises(LockedError):
            open_spool(project, "1", "nuclei", bytes(32)).__enter__()
