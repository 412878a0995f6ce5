"""What every project backend must do, as tests; a backend's test class inherits from it."""

from __future__ import annotations

import abc
import hashlib
import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from project.tables import by_id

from qpbridge.errors import FormatError, ProjectError, SelectionError
from qpbridge.objects import (
    ImageType,
    MeasurementTable,
    ObjectKind,
    ObjectTable,
    PathClass,
    RoiKind,
    Shapes,
    concatenate_shapes,
)
from qpbridge.project.interface import (
    AnnotationUpdate,
    Edit,
    ImageEntry,
    MeasurementUpdate,
    Note,
    ObjectChange,
    Project,
    WorkflowStep,
)

TUMOR = PathClass(("Tumor",), (200, 0, 0))


def discs(n: int, *, path_class: PathClass | None = None) -> ObjectTable:
    """Make `n` detections with a measurement each."""
    geometries = [shapely.Point(20 + 10 * i, 30).buffer(4, quad_segs=4) for i in range(n)]
    return ObjectTable.new(
        ObjectKind.DETECTION,
        Shapes.from_geometries(geometries),
        path_class=path_class,
        measurement_names=["Area µm^2", "Circularity"],
        measurements=[[i + 0.5, np.nan] for i in range(n)],
    )


def rectangle(x: float, y: float, x2: float, y2: float, **columns: object) -> ObjectTable:
    """Make one annotation."""
    shapes = Shapes.corners(RoiKind.RECTANGLE, x, y, x2, y2)
    return replace(ObjectTable.new(ObjectKind.ANNOTATION, shapes), **columns)  # type: ignore[arg-type]


def one_of_everything() -> ObjectTable:
    """Objects of every kind and with every kind of region, below one another."""
    # Quarters survive single precision and rounding to hundredths.
    ring = shapely.set_precision(shapely.Point(50, 40).buffer(9, quad_segs=2), 1 / 4)
    hole = shapely.set_precision(shapely.Point(50, 40).buffer(3, quad_segs=2), 1 / 4)
    shapes = concatenate_shapes(
        [
            Shapes.corners(RoiKind.RECTANGLE, 1.25, 2, 90, 70),
            Shapes.corners(RoiKind.ELLIPSE, 1, 2, 30.5, 40),
            Shapes.corners(RoiKind.LINE, 1, 2, 30, 4),
            Shapes.from_geometries(
                [
                    shapely.LineString([(1, 2), (3, 4), (5, 9)]),
                    shapely.MultiPoint([(1, 2), (7.5, 8)]),
                    ring.difference(hole),
                    shapely.MultiPolygon([shapely.box(0, 0, 2, 2), shapely.box(5, 5, 9, 9)]),
                    shapely.MultiLineString([[(0, 0), (1, 1)], [(2, 2), (3, 3), (4, 5)]]),
                    ring,
                    shapely.box(40, 30, 60, 50).union(hole),
                    shapely.box(30.25, 20, 70, 60).union(ring),
                ]
            ),
            Shapes.corners(RoiKind.ELLIPSE, 0, 0, 60, 60),
        ]
    )
    n = len(shapes)
    kind = np.full(n, ObjectKind.ANNOTATION, np.uint8)
    kind[8:] = [ObjectKind.DETECTION, ObjectKind.TILE, ObjectKind.CELL, ObjectKind.TMA_CORE]
    nuclei = Shapes.empty(n - 2), Shapes.from_geometries([ring]), Shapes.empty(1)
    derived = PathClass(("Tumor", "Positive", "Größe µ"), (1, 2, 3))
    probability = np.full(n, np.nan)
    probability[8] = 0.75
    plane = np.tile(np.array([-1, 0, 0], np.int32), (n, 1))
    plane[2:4] = [-1, 3, 2]
    locked = np.zeros(n, bool)
    locked[:2] = True
    return replace(
        ObjectTable.new(ObjectKind.ANNOTATION, shapes),
        kind=kind,
        nuclei=concatenate_shapes(nuclei),
        classes=(TUMOR, derived, PathClass(("Ours",), (7, 8, 9))),
        class_index=np.array([0, 1, 2, -1] * 3, np.int32),
        parent=np.array([-1, 0, 0, 0, 0, 0, 0, 0, 1, 8, 1, -1], np.int64),
        plane=plane,
        measured=MeasurementTable(
            ("Area µm^2", "odd"), np.array([[i + 0.5, np.inf] for i in range(n)])
        ),
        probability=probability,
        locked=locked,
        names={0: "a region", 11: "A-1"},
        colors={3: (9, 8, 7)},
        metadata={0: {"ANNOTATION_DESCRIPTION": "zwei\nZeilen"}, 11: {"Case ID": "12"}},
        missing=frozenset({11}),
    )


def run_of(number: int, content: bytes = b"") -> Note:
    return Note("nuclei", f"{number:016x}", content)


class ProjectSuite(abc.ABC):
    """Needs `fresh`: a project of the backend with one RGB image of 100 x 80 and no data."""

    @abc.abstractmethod
    def open(self, path: Path) -> Project:
        """Open a project with the backend."""

    @pytest.fixture
    @abc.abstractmethod
    def fresh(self, tmp_path: Path) -> Path:
        """Make a project with one image called "slide.png", nobody having saved data for it."""

    @pytest.fixture
    def entry(self, fresh: Path) -> ImageEntry:
        return self.open(fresh).images[0]

    def test_notes_where_images_are(self, fresh: Path) -> None:
        there = (fresh.parent.parent / "slide.png").rename(fresh.parent / "slide.png")
        project = self.open(fresh)
        (moved,) = project.relocate().moved
        assert (moved.name, moved.new) == ("slide.png", there.as_uri().replace("///", "/"))
        assert [entry.image_path() for entry in project.images] == [there]
        assert [e.server.uri for e in self.open(fresh).images] == [moved.new]
        assert type(project.images[0]) is type(self.open(fresh).images[0])

    def test_describes_itself(self, fresh: Path) -> None:
        project = self.open(fresh)
        assert project.path == fresh
        assert project.version
        assert "Tumor" in map(str, project.classes)
        (entry,) = project.images
        assert (entry.name, entry.description, dict(entry.metadata)) == ("slide.png", None, {})
        assert (entry.server.width, entry.server.height) == (100, 80)

    def test_finds_images_by_name_and_id(self, fresh: Path) -> None:
        project = self.open(fresh)
        (entry,) = project.images
        assert project.image("slide.png") is entry
        assert project.image(entry.id) is entry
        with pytest.raises(SelectionError, match=r"no image 'other'.*'slide\.png'"):
            project.image("other")

    def test_finds_the_image_file(self, entry: ImageEntry) -> None:
        assert entry.image_path().is_file()

    def test_starts_empty(self, entry: ImageEntry) -> None:
        assert not entry.has_data()
        data = entry.read()
        assert len(data.objects) == 0
        assert data.image_type is ImageType.UNSET
        assert data.workflow == ()

    def test_adds_objects(self, fresh: Path, entry: ImageEntry) -> None:
        added = discs(3, path_class=TUMOR)
        entry.apply(Edit(add=added, image_type=ImageType.BRIGHTFIELD_H_E))
        assert entry.has_data()
        data = self.open(fresh).images[0].read()
        assert data.image_type is ImageType.BRIGHTFIELD_H_E
        found = data.objects
        np.testing.assert_array_equal(found.ids, added.ids)
        np.testing.assert_array_equal(found.kind, added.kind)
        assert [found.path_class(i) for i in range(3)] == [TUMOR] * 3
        np.testing.assert_allclose(found.shapes.coords, added.shapes.coords, atol=0.011)
        np.testing.assert_allclose(found.measurement("Area µm^2"), [0.5, 1.5, 2.5])
        assert np.isnan(found.measurement("Circularity")).all()

    def test_adds_below_what_is_there(self, entry: ImageEntry) -> None:
        annotation = rectangle(0, 0, 100, 80, names={0: "region"}, locked=np.array([True]))
        entry.apply(Edit(add=annotation))
        added = discs(4)
        entry.apply(Edit(add=added, add_below=np.repeat(annotation.ids, 4, axis=0)))
        found = entry.read().objects
        assert found.kind.tolist() == [ObjectKind.ANNOTATION] + [ObjectKind.DETECTION] * 4
        assert found.parent.tolist() == [-1, 0, 0, 0, 0]
        assert found.names == {0: "region"}
        assert found.locked.tolist() == [True, False, False, False, False]

    def test_keeps_everything_of_an_object(self, fresh: Path, entry: ImageEntry) -> None:
        added = one_of_everything()
        entry.apply(Edit(add=added))
        found = self.open(fresh).images[0].read().objects
        assert by_id(found) == by_id(added)
        colors = {c.names: c.color for c in found.classes}
        assert colors == {c.names: c.color for c in added.classes}

    def test_removes_only_what_is_named(self, entry: ImageEntry) -> None:
        added = discs(5)
        entry.apply(Edit(add=added))
        entry.apply(Edit(remove=added.ids[1:4]))
        np.testing.assert_array_equal(entry.read().objects.ids, added.ids[[0, 4]])

    def test_children_of_what_is_removed_move_up(self, entry: ImageEntry) -> None:
        annotation, added = rectangle(0, 0, 50, 50), discs(2)
        entry.apply(Edit(add=annotation))
        entry.apply(Edit(add=added, add_below=np.repeat(annotation.ids, 2, axis=0)))
        entry.apply(Edit(remove=annotation.ids))
        found = entry.read().objects
        np.testing.assert_array_equal(np.sort(found.ids, axis=0), np.sort(added.ids, axis=0))
        assert found.parent.tolist() == [-1, -1]

    def test_updates_and_notes_its_steps(self, entry: ImageEntry) -> None:
        annotation = rectangle(0, 0, 50, 50)
        entry.apply(Edit(add=annotation))
        step = WorkflowStep("Segment nuclei", "// qpbridge segment", {"model": "nuclei_he"})
        update = AnnotationUpdate({"made by": "qpbridge"}, {"Nuclei: Count": 3.0})
        entry.apply(Edit(update={annotation.ids[0].tobytes(): update}, steps=[step]))
        data = entry.read()
        assert data.objects.metadata[0]["made by"] == "qpbridge"
        assert data.objects.measurement("Nuclei: Count").tolist() == [3.0]
        assert [s.name for s in data.workflow][-1] == "Segment nuclei"

    def test_measures_objects_that_are_there(self, fresh: Path, entry: ImageEntry) -> None:
        added = one_of_everything()
        entry.apply(Edit(add=added))
        before = by_id(entry.read().objects)
        detections = np.flatnonzero(np.isin(added.kind, (1, 2, 3)))
        others = np.setdiff1d(np.arange(len(added)), detections)
        updates = [
            MeasurementUpdate(
                added.ids[rows],
                MeasurementTable(
                    (name, "Area µm^2"),
                    np.column_stack([np.arange(len(rows)) / 4, np.full(len(rows), 2.5)]),
                ),
                forget=["odd"],
            )
            for rows, name in ((detections, "Nearest µm"), (others, "Nuclei count"))
        ]
        entry.apply(Edit(measure=updates, steps=[WorkflowStep("Measure", "// qpbridge measure")]))
        data = self.open(fresh).images[0].read()
        for update in updates:
            for uid, (value, area) in zip(update.ids, update.measured.matrix.tolist(), strict=True):
                key = added.uuid(int((added.ids == uid).all(axis=1).argmax()))
                before[key]["measured"] = {update.measured.names[0]: value, "Area µm^2": area}
        assert by_id(data.objects) == before
        assert [s.name for s in data.workflow][-1] == "Measure"

    def test_changes_what_a_person_would(self, fresh: Path, entry: ImageEntry) -> None:
        table = one_of_everything()
        entry.apply(Edit(add=table))
        before = self.open(fresh).images[0].read().objects
        mine = PathClass(("Mine", "New"), (3, 2, 1))
        change = {}
        for row, uid in enumerate(before.ids):
            change[uid.tobytes()] = ObjectChange(
                shift=(3.5, -2.0),
                path_class=(mine, TUMOR, None)[row % 3],
                name=None if row % 2 else f"née {row}",
                locked=not before.locked[row],
            )
        entry.apply(Edit(change=change))
        after = self.open(fresh).images[0].read().objects
        assert after.ids.tolist() == before.ids.tolist()
        assert after.parent.tolist() == before.parent.tolist()
        assert after.names == {r: f"née {r}" for r in range(0, len(table), 2)}
        assert (after.locked != before.locked).all()
        classes = [after.path_class(row) for row in range(len(after))]
        assert classes == [(mine, TUMOR, None)[row % 3] for row in range(len(after))]
        assert np.array_equal(after.shapes.roi, before.shapes.roi)
        assert np.allclose(
            after.shapes.coords, np.add(before.shapes.coords, (3.5, -2.0)), atol=1e-4
        )
        assert np.allclose(
            after.nuclei.coords, np.add(before.nuclei.coords, (3.5, -2.0)), atol=1e-4
        )
        for column in ("kind", "plane", "measurements", "probability"):
            kept = getattr(after, column), getattr(before, column)
            assert np.array_equal(*kept, equal_nan=column in ("measurements", "probability"))
        assert (after.metadata, after.missing) == (before.metadata, before.missing)
        assert mine in self.open(fresh).classes
        # and back again, to the byte but for what is written in another order
        back = {
            uid.tobytes(): ObjectChange(
                shift=(-3.5, 2.0),
                path_class=before.path_class(row),
                name=before.names.get(row),
                locked=bool(before.locked[row]),
            )
            for row, uid in enumerate(before.ids)
        }
        entry.apply(Edit(change=back))
        assert by_id(self.open(fresh).images[0].read().objects) == by_id(before)

    def test_changes_what_is_named_and_nothing_else(self, fresh: Path, entry: ImageEntry) -> None:
        entry.apply(Edit(add=discs(50, path_class=TUMOR)))
        before = self.open(fresh).images[0].read().objects
        chosen = before.ids[10:20]
        entry.apply(Edit(change={uid.tobytes(): ObjectChange(path_class=None) for uid in chosen}))
        after = self.open(fresh).images[0].read().objects
        expected = by_id(before)
        for row in range(10, 20):
            expected[before.uuid(row)]["class"] = None
        assert by_id(after) == expected

    def test_refuses_data_that_changed(self, fresh: Path, entry: ImageEntry) -> None:
        entry.apply(Edit(add=discs(1)))
        state = entry.read().state
        other = self.open(fresh).images[0]
        other.apply(Edit(add=discs(1)))
        with pytest.raises(ProjectError, match="saved by another program"):
            entry.apply(Edit(add=discs(1)), state)
        assert len(entry.read().objects) == 2
        entry.apply(Edit(add=discs(1)), entry.read().state)
        assert len(entry.read().objects) == 3

    def test_refuses_data_that_appeared(self, fresh: Path, entry: ImageEntry) -> None:
        state = entry.read().state
        self.open(fresh).images[0].apply(Edit(add=discs(1)))
        with pytest.raises(ProjectError, match="saved by another program"):
            entry.apply(Edit(add=discs(1)), state)

    def test_refuses_edits_of_objects_that_are_not_there(self, entry: ImageEntry) -> None:
        entry.apply(Edit(add=discs(1)))
        before = entry.read()
        for edit in (
            Edit(remove=discs(1).ids),
            Edit(add=discs(1), add_below=discs(1).ids),
            Edit(update={bytes(range(16)): AnnotationUpdate({"k": "v"})}),
            Edit(change={bytes(range(16)): ObjectChange(locked=True)}),
            Edit(measure=[MeasurementUpdate(discs(1).ids, MeasurementTable.of({"a": [0]}))]),
        ):
            with pytest.raises(ProjectError):
                entry.apply(edit)
        assert entry.read().state == before.state

    def test_new_classes_join_the_list(self, fresh: Path, entry: ImageEntry) -> None:
        mine = PathClass(("Nucleus", "Mitosis"), (1, 2, 3))
        before = self.open(fresh).classes
        entry.apply(Edit(add=discs(2, path_class=mine)))
        assert self.open(fresh).classes == (*before, mine)
        assert self.open(fresh).classes[-1].color == (1, 2, 3)

    def test_adds_classes_once(self, fresh: Path) -> None:
        project = self.open(fresh)
        before = project.classes
        project.add_classes([PathClass(("Vessel",)), TUMOR, PathClass(("Vessel",), (9, 9, 9))])
        assert project.classes == (*before, PathClass(("Vessel",)))
        assert self.open(fresh).classes == project.classes
        assert project.classes[-1].color is not None

    def test_takes_a_run_back_to_the_byte(self, fresh: Path, entry: ImageEntry) -> None:
        entry.apply(Edit(add=discs(2)))
        file = fresh.parent / "data" / entry.id / "data.qpdata"
        states = [file.read_bytes()]
        for number in range(2):
            note = run_of(number, bytes([number]) * 9)
            entry.apply(Edit(add=discs(3), steps=[WorkflowStep("run", "")], note=note))
            states.append(file.read_bytes())
        assert entry.kept_runs() == (run_of(0).run, run_of(1).run)
        assert entry.note(run_of(1).run) == b"\x01" * 9
        assert len(entry.before(run_of(1).run).objects) == 5
        assert not entry.take_back(run_of(0).run)  # another one came after it
        for number in (1, 0):
            assert entry.take_back(run_of(number).run)
            assert file.read_bytes() == states[number]
            assert entry.note(run_of(number).run) is None
        assert entry.kept_runs() == ()
        assert len(self.open(fresh).images[0].read().objects) == 2

    def test_takes_nothing_back_once_something_else_changed(self, entry: ImageEntry) -> None:
        entry.apply(Edit(add=discs(1)))
        entry.apply(Edit(add=discs(3), note=run_of(0)))
        entry.apply(Edit(add=discs(1)))
        assert not entry.take_back(run_of(0).run)
        assert len(entry.read().objects) == 5
        assert len(entry.before(run_of(0).run).objects) == 1
        entry.apply(Edit(add=discs(1), forget=[run_of(0).run]))
        assert entry.note(run_of(0).run) is None
        with pytest.raises(ProjectError, match="no longer kept"):
            entry.take_back(run_of(0).run)
        with pytest.raises(ProjectError, match="no longer kept"):
            entry.before(run_of(0).run)

    def test_an_image_without_data_before_has_no_bytes_to_go_back_to(
        self, entry: ImageEntry
    ) -> None:
        entry.apply(Edit(add=discs(3), note=run_of(0)))
        assert not entry.take_back(run_of(0).run)
        assert not len(entry.before(run_of(0).run).objects)

    def test_keeps_no_more_than_some_runs(self, fresh: Path, entry: ImageEntry) -> None:
        for number in range(9):
            entry.apply(Edit(add=discs(1), note=run_of(number)))
        assert entry.kept_runs() == tuple(run_of(number).run for number in range(4, 9))
        assert [entry.note(run_of(n).run) for n in (2, 3)] == [None, b""]
        folder = fresh.parent / "data" / entry.id
        assert len([file for file in folder.iterdir() if file.name.startswith("qpbridge-")]) == 11

    def test_a_run_is_found_again_whatever_numbers_are_there(
        self, fresh: Path, entry: ImageEntry
    ) -> None:
        entry.apply(Edit(add=discs(2), note=run_of(0)))
        folder = fresh.parent / "data" / entry.id
        for path in folder.glob("qpbridge-0001-*"):
            path.rename(path.with_name(path.name.replace("0001", "9" * 12)))
        data = (folder / "data.qpdata").read_bytes()
        for number in (1, 2):
            entry.apply(Edit(add=discs(2), note=run_of(number, b"x")))
            assert entry.note(run_of(number).run) == b"x"
        assert set(entry.kept_runs()) == {run_of(number).run for number in range(3)}
        assert entry.take_back(run_of(2).run)
        assert entry.take_back(run_of(1).run)
        assert (folder / "data.qpdata").read_bytes() == data

    def test_what_is_kept_may_be_damaged(
        self, fresh: Path, entry: ImageEntry, caplog: pytest.LogCaptureFixture
    ) -> None:
        for number in range(2):
            entry.apply(Edit(add=discs(2), note=run_of(number)))
        file = fresh.parent / "data" / entry.id / "data.qpdata"
        data = file.read_bytes()
        for path in file.parent.glob("qpbridge-*"):
            path.write_bytes(path.read_bytes()[:-1] if path.suffix == ".before" else b"{}")
        assert entry.note(run_of(0).run) is None
        assert "damaged" in caplog.text
        for number in range(2):
            with pytest.raises(ProjectError):
                entry.before(run_of(number).run)
            with pytest.raises(ProjectError):
                entry.take_back(run_of(number).run)
        entry.apply(Edit(add=discs(2), note=run_of(2)))
        assert entry.take_back(run_of(2).run)
        assert file.read_bytes() == data

    def test_data_from_before_that_is_none_is_named(self, fresh: Path, entry: ImageEntry) -> None:
        entry.apply(Edit(add=discs(2)))
        entry.apply(Edit(add=discs(2), note=run_of(0)))
        file = fresh.parent / "data" / entry.id / "data.qpdata"
        data = file.read_bytes()
        (before,), (note,) = file.parent.glob("*.before"), file.parent.glob("*.note")
        before.write_bytes(zlib.compress(b"no data"))
        head = json.loads(note.read_bytes())
        digest = hashlib.blake2b(b"no data").hexdigest()
        note.write_text(json.dumps({**head, "before": digest, "length": 7}) + "\n")
        for ask in (entry.before, entry.take_back):
            with pytest.raises(FormatError, match=r"qpbridge-0001-.*\.before"):
                ask(run_of(0).run)
        assert file.read_bytes() == data
