"""The colours of the classes of objects: the project's list has the last word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from qpbridge.objects import PathClass
from qpbridge.project.colors import default_color
from qpbridge.project.interface import Edit


def colored(classes: Sequence[PathClass], known: Sequence[PathClass]) -> tuple[PathClass, ...]:
    """Give classes the colours of the project's list, which win in QuPath too."""
    colors = {c.names: c.color for c in known}
    return tuple(PathClass(c.names, colors.get(c.names) or c.color) for c in classes)


def with_colors(edit: Edit, known: Sequence[PathClass]) -> tuple[Edit, tuple[PathClass, ...]]:
    """Give the classes of new and changed objects their colours; return also which are used."""

    def given(classes: Sequence[PathClass]) -> tuple[PathClass, ...]:
        named = colored(classes, known)
        return tuple(PathClass(c.names, c.color or default_color(c.names)) for c in named)

    used: list[PathClass] = []
    if edit.add is not None:
        add = replace(edit.add, classes=given(edit.add.classes))
        used += [add.classes[i] for i in np.unique(add.class_index) if i >= 0]
        edit = replace(edit, add=add)
    if edit.change:
        distinct = dict.fromkeys(edit.change.values())
        new = [c.path_class for c in distinct if isinstance(c.path_class, PathClass)]
        by_name = {c.names: c for c in given(tuple(dict.fromkeys(new)))}
        used += by_name.values()
        colored_too = {
            c: replace(c, path_class=by_name[c.path_class.names])
            for c in distinct
            if isinstance(c.path_class, PathClass)
        }
        change = {uid: colored_too.get(c, c) for uid, c in edit.change.items()}
        edit = replace(edit, change=change)
    return edit, tuple(dict.fromkeys(used))
