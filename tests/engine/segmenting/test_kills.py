"""`segment` that is killed, or refused by the disk, before every call to the file system."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_helpers import annotate
from slide_factory import make_slide

import qpbridge
from qpbridge.engine.segmenting import job
from qpbridge.engine.segmenting.request import Request
from qpbridge.engine.segmenting.spool import FOLDER
from qpbridge.models.bundle import load_bundle
from qpbridge.objects import RoiKind, Shapes
from qpbridge.prediction.tiles.network import TargetNetwork
from qpbridge.project import NewImage, create_project, open_project
from qpbridge.project.embedded.qpdata.data_file import read_image_data
from qpbridge.project.files.locks import LOCK_NAME

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

EVENTS = {
    "open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.chmod", "os.utime",
    "os.truncate", "os.listdir", "os.scandir",
}  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kills")
    slide = make_slide(folder / "1.svs", width=160, height=120).path
    path = folder / "lab" / "project.qpproj"
    image = NewImage(path=slide, name="1.svs", width=160, height=120, mpp=(0.5, 0.5))
    create_project(path, [image])
    annotate(path, (Shapes.corners(RoiKind.RECTANGLE, 10, 10, 150, 110), "Tumor", "a"))
    return path


@pytest.fixture(autouse=True)
def loaded_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load the network once, but run it in forked processes only: threads don't come along."""
    import torch

    torch.set_num_threads(1)
    network = TargetNetwork(load_bundle("nuclei_he"), "cpu")
    monkeypatch.setattr(job, "TargetNetwork", lambda *_, **__: network)


def segment(path: Path) -> str:
    (report,) = qpbridge.segment_project(
        open_project(path, "embedded"), load_bundle("nuclei_he"), Request(device="cpu", tile=96)
    )
    assert "Traceback" not in report.message
    if report.status == "failed":
        assert str(path.parent) in report.message
    return report.status


def watch(folder: Path, act: Callable[[int], None]) -> Callable[[], int]:
    """Call something before every call to the file system below a folder; tells how many.

    This can't be undone: only in a process of its own.
    """
    count = 0

    def before(event: str, details: tuple[object, ...]) -> None:
        nonlocal count
        if event in EVENTS and any(str(folder) in str(d) for d in details[:2]):
            count += 1
            act(count)

    sys.addaudithook(before)
    for name in ("write", "fsync"):
        real = getattr(os, name)

        def call(handle: int, *rest: object, real: Callable[..., object] = real) -> object:
            nonlocal count
            if str(folder) in str(Path(f"/proc/self/fd/{handle}").readlink()):
                count += 1
                act(count)
            return real(handle, *rest)

        setattr(os, name, call)
    return lambda: count


def in_child(work: Callable[[], int]) -> int:
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return status


def nuclei(path: Path) -> set[bytes]:
    table = open_project(path, "embedded").images[0].read().objects
    return {i.tobytes() for i in table.ids[table.parent >= 0]}


def calls_of(lab: Path, tmp_path: Path) -> tuple[int, set[bytes]]:
    path = shutil.copytree(lab.parent, tmp_path / "count") / lab.name
    counted = tmp_path / "counted"

    def work() -> int:
        count = watch(path.parent, lambda n: None)
        assert segment(path) == "written"
        counted.write_text(str(count()))
        return 0

    assert in_child(work) == 0
    return int(counted.read_text()), nuclei(path)


def chosen(steps: int, request: pytest.FixtureRequest, few: int) -> list[int]:
    if request.config.getoption("--slow"):
        return list(range(1, steps + 1))
    return sorted({1 + round(i * (steps - 1) / (few - 1)) for i in range(few)})


def check_whole(path: Path, before: bytes, whole: set[bytes]) -> None:
    """Each file is old or new, never half, whatever happened."""
    data = path.parent / "data/1/data.qpdata"
    assert data.exists()
    read_image_data(data.read_bytes())
    assert nuclei(path) in (set(), whole)
    assert path.read_bytes() == before


def test_killed_before_any_call(lab: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    steps, whole = calls_of(lab, tmp_path)
    assert steps > 40
    assert whole
    before = lab.read_bytes()
    outcomes = set()
    for step in chosen(steps, request, 4):
        path = shutil.copytree(lab.parent, tmp_path / str(step)) / lab.name

        def kill(n: int, step: int = step) -> None:
            if n == step:
                os.kill(os.getpid(), signal.SIGKILL)

        def work(path: Path = path) -> int:
            watch(path.parent, kill)
            segment(path)
            return 0

        status = in_child(work)
        # By the clock a lock is renewed: a run may make a call or two less than the one counted.
        assert os.WIFSIGNALED(status) or step > steps - 3
        check_whole(path, before, whole)
        outcomes.add(nuclei(path) == whole)
        assert in_child(lambda path=path: 0 if segment(path) == "written" else 1) == 0
        assert nuclei(path) == whole
        left = {p.name for p in path.parent.rglob("*")}
        assert not {n for n in left if n.endswith(".qpbridge") or n in (LOCK_NAME, FOLDER)}
        shutil.rmtree(path.parent)
    assert outcomes == {True, False}


@pytest.mark.parametrize(
    "number",
    [
        errno.ENOSPC,
        pytest.param(errno.EIO, marks=pytest.mark.slow),
        pytest.param(errno.EACCES, marks=pytest.mark.slow),
    ],
)
def test_refused_at_any_call(
    lab: Path, tmp_path: Path, request: pytest.FixtureRequest, number: int
) -> None:
    steps, whole = calls_of(lab, tmp_path)
    before = lab.read_bytes()
    for step in chosen(steps, request, 2):
        path = shutil.copytree(lab.parent, tmp_path / str(step)) / lab.name

        def refuse(n: int, step: int = step) -> None:
            if n == step:
                raise OSError(number, os.strerror(number))

        def work(path: Path = path) -> int:
            watch(path.parent, refuse)
            try:
                return 0 if segment(path) in ("written", "failed") else 1
            except qpbridge.QpbridgeError as error:
                return 0 if str(path.parent) in str(error) else 2

        assert os.waitstatus_to_exitcode(in_child(work)) == 0, step
        check_whole(path, before, whole)
        assert in_child(lambda path=path: 0 if segment(path) == "written" else 1) == 0
        assert nuclei(path) == whole
        shutil.rmtree(path.parent)
