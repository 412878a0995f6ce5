from __future__ import annotations

from dataclasses import replace

import numpy as np
import shapely

from qpbridge.hierarchy.drawn import drawn_annotations, on_first_plane
from qpbridge.hierarchy.provenance import mint_ids
from qpbridge.objects import ObjectKind, ObjectTable, Shapes


def test_what_a_person_drew_on_which_plane():
    shapes = Shapes.from_geometries(
        [
            shapely.box(0, 0, 10, 10),
            shapely.LineString([(0, 0), (5, 5)]),
            shapely.box(0, 0, 20, 20),
            shapely.box(0, 0, 30, 30),
            shapely.box(0, 0, 40, 40),
        ]
    )
    table = ObjectTable.new(ObjectKind.ANNOTATION, shapes)
    plane = np.array([[-1, 0, 0], [2, 0, 0], [-1, 3, 0], [-1, 0, 0], [-1, 0, 1]], np.int32)
    table = replace(table, plane=plane)
    ids = table.ids.copy()
    ids[3] = mint_ids(table.take([3]), "glands", ids)[0]
    kind = table.kind.copy()
    table = replace(table, ids=ids, kind=kind)
    assert on_first_plane(table).tolist() == [True, True, False, True, False]
    assert drawn_annotations(table).tolist() == [0, 1]
    assert drawn_annotations(table, every_plane=True).tolist() == [0, 1, 2, 4]
    kind[0] = ObjectKind.DETECTION
    assert drawn_annotations(table).tolist() == [1]
