"""Writing into an image that other programs save at the same time."""

from __future__ import annotations

import pytest
import shapely

from qpbridge.engine.apply import ATTEMPTS, apply_planned
from qpbridge.errors import ChangedMeanwhileError
from qpbridge.hierarchy.regions import Selection, find_again, select_regions
from qpbridge.ids import random_ids
from qpbridge.objects import ObjectKind, ObjectTable, PathClass, Shapes
from qpbridge.project.interface import Edit, ImageData


class Image:
    """Keeps numbers; somebody else saves right before the first `busy` writes."""

    def __init__(self, busy: int) -> None:
        self.busy, self.state, self.edits = busy, 0, []

    def read(self) -> ImageData:
        return ImageData(drawn(), state=self.state)

    def apply(self, edit: Edit, state: int) -> None:
        if self.busy:
            self.busy -= 1
            self.state += 1
        if state != self.state:
            raise ChangedMeanwhileError("saved by another program")
        self.edits.append(edit)


def drawn(*boxes, path_class=None) -> ObjectTable:
    shapes = Shapes.from_geometries([shapely.box(*b) for b in boxes])
    return ObjectTable.new(ObjectKind.ANNOTATION, shapes, path_class=path_class)


@pytest.mark.parametrize("busy", [0, 1, ATTEMPTS - 1])
def test_plans_again_on_what_is_there_now(busy):
    image = Image(busy)
    seen = []

    def plan(data):
        seen.append(data.state)
        return Edit(), data.state

    assert apply_planned(image, image.read(), plan) == busy
    assert seen == list(range(busy + 1))
    assert len(image.edits) == 1


def test_gives_up_on_an_image_that_changes_all_the_time():
    image = Image(ATTEMPTS)
    with pytest.raises(ChangedMeanwhileError):
        apply_planned(image, image.read(), lambda data: (Edit(), None))
    assert image.edits == []


def test_nothing_to_do_writes_nothing():
    image = Image(0)
    assert apply_planned(image, image.read(), lambda data: (None, "why")) == "why"
    assert image.edits == []


class TestFindAgain:
    table = drawn((0, 0, 50, 50), (60, 0, 100, 50))

    def again(self, now):
        regions = select_regions(self.table, Selection(), 200, 200)
        return find_again(regions, now, Selection(), 200, 200)

    def test_where_the_rows_moved(self):
        found = self.again(self.table.take([1, 0]))
        assert [r.row for r in found] == [1, 0]
        assert [r.id for r in found] == [i.tobytes() for i in self.table.ids]

    def test_by_outline_where_the_ids_are_new(self):
        now = self.table.take([1, 0]).replace(ids=random_ids(2))
        assert [r.row for r in self.again(now)] == [1, 0]

    def test_rounded_by_qupath(self):
        shapes = Shapes.from_geometries(
            shapely.transform(self.table.geometries, lambda xy: xy + 0.009)
        )
        assert len(self.again(self.table.replace(shapes=shapes))) == 2

    def test_smaller_is_fine_and_its_new_area_counts(self):
        corner = shapely.Polygon([(0, 0), (50, 0), (50, 50), (25, 50)])
        shapes = Shapes.from_geometries([corner, self.table.geometries[1]])
        found = self.again(self.table.replace(shapes=shapes))
        assert found[0].geometry.area == pytest.approx(corner.area)

    @pytest.mark.parametrize(
        ("boxes", "word"),
        [
            ([(0, 0, 60, 50), (60, 0, 100, 50)], "changed"),
            ([(10, 0, 60, 50), (60, 0, 100, 50)], "changed"),
            ([(0, 0, 50, 50)], "deleted"),
        ],
    )
    def test_what_was_not_searched_is_refused(self, boxes, word):
        now = drawn(*boxes)
        now = now.replace(ids=self.table.ids[: len(boxes)])
        with pytest.raises(ChangedMeanwhileError, match=f"{word} by another.*run again"):
            self.again(now)

    def test_all_gone_is_refused(self):
        with pytest.raises(ChangedMeanwhileError, match="deleted"):
            self.again(drawn())
        ignored = self.table.replace(
            classes=(PathClass(("Ignore*",)),), class_index=self.table.class_index + 1
        )
        with pytest.raises(ChangedMeanwhileError, match="deleted"):
            self.again(ignored)
