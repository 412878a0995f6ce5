"""Objects changed by hand: one call, read back, and nothing else is touched."""

from __future__ import annotations

import uuid

import numpy as np
import pytest

import qpbridge
from qpbridge import Edit, ObjectKind, PathClass, RequestError, SelectionError
from qpbridge.project.interface import ImageEntry


@pytest.fixture
def image(path) -> ImageEntry:
    return qpbridge.open_project(path)["1"]


def forms(ids):
    """Write ids in all the forms that are taken."""
    one = uuid.UUID(bytes=ids[0].tobytes())
    yield from (ids[0], one, str(one), one.hex, one.bytes, [one], (str(one).upper(),), ids[:1])


def test_ids_come_in_many_forms(image):
    ids = image.read().objects.ids
    for i, form in enumerate(forms(ids)):
        assert qpbridge.edit.rename(image, form, f"n{i}") == 1
        assert image.read().objects.names[0] == f"n{i}"
    assert qpbridge.edit.lock(image, ids) == len(ids)
    assert qpbridge.edit.lock(image, iter(ids[:3]), False) == 3
    assert image.read().objects.locked.sum() == len(ids) - 3
    assert qpbridge.edit.lock(image, []) == 0


def test_many_nuclei_are_moved_and_count_as_changed_by_hand(path, image):
    before = image.read().objects
    nuclei = before.kind == ObjectKind.DETECTION
    assert qpbridge.edit.move(image, before.ids[nuclei], 2, 3.25) == nuclei.sum()
    after = image.read().objects
    moved = after.shapes.centroids() - before.shapes.centroids()
    assert np.allclose(moved[nuclei], (2, 3.25), atol=1e-3) and not moved[~nuclei].any()
    assert np.array_equal(after.measurements, before.measurements, equal_nan=True)
    assert np.array_equal(after.class_index, before.class_index)
    made = qpbridge.info(path)
    assert made.images[0].info["qpbridge"]["nuclei"] == {"unchanged": 0, "changed": nuclei.sum()}
    assert image.read().workflow[-1].name == "qpbridge: move"


def test_a_new_class_joins_the_list_with_a_color(path, image):
    uid = image.read().objects.ids[0]
    qpbridge.edit.reclassify(image, uid, PathClass(("Front", "Invasive"), (9, 8, 7)))
    known = qpbridge.open_project(path).classes
    assert (known[-1].names, known[-1].color) == (("Front", "Invasive"), (9, 8, 7))
    qpbridge.edit.reclassify(image, uid, "Other: Odd")
    table = image.read().objects
    assert str(table.path_class(0)) == "Other: Odd" and table.path_class(0).color is not None
    qpbridge.edit.reclassify(image, uid, None)
    assert image.read().objects.path_class(0) is None


def test_children_of_what_is_deleted_move_up_or_go_too(image):
    before = image.read().objects
    assert (before.parent == 0).sum() > 10
    assert qpbridge.edit.delete(image, before.ids[0]) == 1
    after = image.read().objects
    assert len(after) == len(before) - 1 and (after.parent == -1).all()
    image.apply(Edit(remove=after.ids))
    image.apply(Edit(add=before))
    assert qpbridge.edit.delete(image, before.ids[0], with_children=True) == len(before)
    assert len(image.read().objects) == 0


WRONG = [
    (lambda i, ids: qpbridge.edit.move(i, ids, float("nan"), 0), "dx"),
    (lambda i, ids: qpbridge.edit.move(i, ids, 0, "1"), "dy"),
    (lambda i, ids: qpbridge.edit.move(i, "left", 1, 1), "ids"),
    (lambda i, ids: qpbridge.edit.move(i, b"short", 1, 1), "ids"),
    (lambda i, ids: qpbridge.edit.move(i, 5, 1, 1), "ids"),
    (lambda i, ids: qpbridge.edit.move(i, [None], 1, 1), "ids"),
    (lambda i, ids: qpbridge.edit.move("a.svs", ids, 1, 1), "image"),
    (lambda i, ids: qpbridge.edit.reclassify(i, ids, ""), "path_class"),
    (lambda i, ids: qpbridge.edit.reclassify(i, ids, 5), "path_class"),
    (lambda i, ids: qpbridge.edit.rename(i, ids, ""), "name"),
    (lambda i, ids: qpbridge.edit.lock(i, ids, "yes"), "locked"),
    (lambda i, ids: qpbridge.edit.delete(i, ids, with_children=None), "with_children"),
]


@pytest.mark.parametrize(("call", "field"), WRONG)
def test_a_wrong_argument_is_named_and_nothing_changes(image, call, field):
    before = image.read()
    with pytest.raises(RequestError) as caught:
        call(image, before.objects.ids)
    assert caught.value.field == field
    assert image.read().state == before.state


def test_an_object_that_is_not_there_is_named(image):
    before = image.read()
    stranger = uuid.uuid4()
    for call in (
        lambda ids: qpbridge.edit.move(image, ids, 1, 1),
        lambda ids: qpbridge.edit.lock(image, ids),
        lambda ids: qpbridge.edit.delete(image, ids),
    ):
        with pytest.raises(SelectionError, match=str(stranger)):
            call([before.objects.uuid(0), stranger])
    assert image.read().state == before.state


def test_what_is_saved_in_between_is_kept(path, image, monkeypatch):
    other = qpbridge.open_project(path)["1"]
    uid = image.read().objects.ids[0]
    apply = type(image).apply

    def meddled(self, edit, state=None):
        if self is image:
            monkeypatch.setattr(type(image), "apply", apply)
            qpbridge.edit.rename(other, uid, "theirs")
        return apply(self, edit, state)

    monkeypatch.setattr(type(image), "apply", meddled)
    qpbridge.edit.lock(image, uid)
    table = image.read().objects
    assert table.names[0] == "theirs" and table.locked[0]
