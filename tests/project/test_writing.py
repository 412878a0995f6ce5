"""Changes to the data of images: all or nothing, and with a backup."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from project.files import Trap, digests
from project.suite import discs, rectangle

from qpbridge.errors import FormatError, ProjectError
from qpbridge.objects import ImageType, PathClass
from qpbridge.project import open_project
from qpbridge.project.embedded import qpproj
from qpbridge.project.files.locks import LOCK_NAME
from qpbridge.project.interface import Edit


class TestWriting:
    @pytest.fixture
    def saved(self, fresh: Path) -> Path:
        """A project with something to lose."""
        entry = open_project(fresh).images[0]
        entry.apply(Edit(add=rectangle(0, 0, 10, 10)))
        entry.apply(Edit(add=discs(2), image_type=ImageType.BRIGHTFIELD_H_E))
        return fresh

    def test_backup_is_the_version_before(self, saved: Path) -> None:
        folder = saved.parent / "data/1"
        before = (folder / "data.qpdata").read_bytes()
        open_project(saved).images[0].apply(Edit(add=discs(1)))
        assert (folder / "data.qpdata.bkp").read_bytes() == before
        assert (folder / "data.qpdata").read_bytes() != before

    def test_falls_back_to_the_backup(self, saved: Path) -> None:
        folder = saved.parent / "data/1"
        (folder / "data.qpdata").replace(folder / "data.qpdata.bkp")
        entry = open_project(saved).images[0]
        assert entry.has_data()
        data = entry.read()
        assert len(data.objects) == 3
        entry.apply(Edit(add=discs(1)), data.state)
        assert len(entry.read().objects) == 4
        assert (folder / "data.qpdata.bkp").exists()

    def test_removes_what_a_killed_writer_left(self, saved: Path) -> None:
        for name in ("data/1/.data.qpdata", "data/1/.summary.json", "classifiers/.classes.json"):
            (saved.parent / f"{name}.0123.old.qpbridge").write_bytes(b"old")
        open_project(saved).images[0].apply(Edit(add=discs(1)))
        assert not list(saved.parent.rglob("*.qpbridge"))

    def test_remembers_the_entry(self, saved: Path) -> None:
        data = (saved.parent / "data/1/data.qpdata").read_bytes()
        assert f"{saved}::1".encode() in data

    def test_nothing_to_do_writes_nothing(self, saved: Path) -> None:
        before = digests(saved.parent)
        open_project(saved).images[0].apply(Edit())
        assert digests(saved.parent) == before

    @pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", b"\xac\xed\x00\x05", None])
    def test_broken_data(self, saved: Path, damage: bytes | None) -> None:
        path = saved.parent / "data/1/data.qpdata"
        path.write_bytes(path.read_bytes()[:-200] if damage is None else damage)
        before = digests(saved.parent)
        entry = open_project(saved).images[0]
        with pytest.raises(FormatError, match=r"data\.qpdata: .*data\.qpdata\.bkp beside it"):
            entry.read()
        with pytest.raises(FormatError, match=r"data\.qpdata"):
            entry.apply(Edit(add=discs(1)))
        assert digests(saved.parent) == before

    def test_saved_by_qupath_at_the_last_moment(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """QuPath knows no lock: it may save while the new data is being made."""
        path = saved.parent / "data/1/data.qpdata"
        real = qpproj.apply_edit

        def slow(data: bytes | None, edit: Edit, **options: Any) -> bytes:
            path.write_bytes(path.read_bytes() + b"saved by QuPath")
            return real(data, edit, **options)

        monkeypatch.setattr(qpproj, "apply_edit", slow)
        with pytest.raises(ProjectError, match="saved by another program"):
            open_project(saved).images[0].apply(Edit(add=discs(1)))
        assert path.read_bytes().endswith(b"saved by QuPath")

    def test_never_writes_what_it_cannot_read(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = digests(saved.parent)
        monkeypatch.setattr(qpproj, "apply_edit", lambda data, edit, **options: data[:-100])
        with pytest.raises(FormatError):
            open_project(saved).images[0].apply(Edit(add=discs(1)))
        assert digests(saved.parent) == before

    def test_respects_the_lock(self, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (saved.parent / LOCK_NAME).write_text(
            json.dumps(
                {"pid": 1, "host": "elsewhere", "numbering": 0, "started": None, "time": "noon"}
            )
        )
        monkeypatch.setattr(qpproj, "lock", lambda folder: qpproj_lock(folder, wait=0))
        before = digests(saved.parent)
        with pytest.raises(ProjectError, match="process 1 on elsewhere since noon"):
            open_project(saved).images[0].apply(Edit(add=discs(1)))
        assert digests(saved.parent) == before

    @pytest.mark.parametrize(
        "error",
        [OSError(errno.ENOSPC, "full"), OSError(errno.EROFS, "read-only"), KeyboardInterrupt()],
        ids=["full", "read-only", "interrupt"],
    )
    def test_any_failure_leaves_the_old_or_the_new(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
    ) -> None:
        folder = saved.parent
        data = "data/1/data.qpdata"
        edit = Edit(add=discs(1, path_class=PathClass(("Brand new",))))
        before = digests(folder)
        shutil.copytree(folder, folder.with_name("kept"))
        trap = Trap(("open", "replace", "fsync", "link", "mkdir", "chmod"), error)
        at = 1
        failed = 0
        while True:
            with monkeypatch.context() as context:
                trap.count, trap.at = 0, at
                trap.set(context)
                try:
                    open_project(saved).images[0].apply(edit)
                    outcome = "done"
                except ProjectError as caught:
                    outcome = str(caught)
                except KeyboardInterrupt:
                    outcome = "interrupted"
            after = digests(folder)
            if outcome == "done" or after != before:
                assert set(after) == set(before)
                assert {n for n in after if after[n] != before[n]} == {
                    data,
                    f"{data}.bkp",
                    "data/1/summary.json",
                    "classifiers/classes.json",
                }
                assert len(open_project(saved).images[0].read().objects) == 4
                assert outcome in ("done", "interrupted")
                shutil.rmtree(folder)
                shutil.copytree(folder.with_name("kept"), folder)
            else:
                failed += 1
                assert outcome == "interrupted" or str(folder) in outcome
            if trap.count < at:
                break
            at += 1
        assert failed > 10


qpproj_lock = qpproj.lock
