"""QuPath's ``data.qpdata``: read everything of an image, and change it without harming the rest."""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Mapping
from typing import Any

from qpbridge.javastream.build import EMPTY_STREAM, Builder, Symbols
from qpbridge.javastream.nodes import MAGIC
from qpbridge.javastream.write import Changes, assemble
from qpbridge.objects import ImageType
from qpbridge.project.embedded.qpdata import java_classes
from qpbridge.project.embedded.qpdata.edit_objects import change_objects
from qpbridge.project.embedded.qpdata.image_level import (
    append_steps,
    change_staining,
    read_layout,
    read_objects,
    read_stains,
    read_type,
    read_workflow,
    write_map,
)
from qpbridge.project.embedded.qpdata.java_values import read_properties
from qpbridge.project.embedded.qpdata.object_parts import OBJECT_ID
from qpbridge.project.embedded.qpdata.object_tree import read_tma_grid
from qpbridge.project.embedded.qpdata.write_objects import write_metadata
from qpbridge.project.interface import Edit, ImageData


def read_image_data(data: bytes) -> ImageData:
    """Read a ``data.qpdata`` of any QuPath from 0.2.3 to 0.7.

    Objects without id (QuPath before 0.4) get one that is derived from the bytes of the file: the
    same at every reading, until the file changes.

    Raises
    ------
    FormatError
        If the bytes are truncated, foreign or lie about themselves.
    """
    layout = read_layout(data)
    stream = layout.stream
    objects = read_objects(layout)
    assert layout.hierarchy is not None
    return ImageData(
        objects=objects.table,
        image_type=read_type(layout),
        stains=read_stains(stream, layout.stains),
        workflow=tuple(read_workflow(stream, layout.workflow)),
        properties=read_properties(stream, layout.properties),
        tma_grid=read_tma_grid(objects, layout.hierarchy),
    )


def apply_edit(
    data: bytes | None,
    edit: Edit,
    *,
    qupath_version: str = "0.6.0",
    server_builder: Mapping[str, Any] | None = None,
    entry_id: str | None = None,
) -> bytes:
    """Carry out a change; all that it doesn't touch keeps its bytes, but for handle numbers.

    Parameters
    ----------
    data
        The file as it is; None for an image without one.
    edit
        The change.
    qupath_version, server_builder, entry_id
        For a new file: the version of the project, the ``serverBuilder`` of the image in it, and
        ``PROJECT.qpproj::ID``, as QuPath writes them.

    Raises
    ------
    FormatError
        If `data` is broken.
    ProjectError
        If the edit names an object that isn't there, or adds one that is.
    """
    if data is None:
        data = _new_file(qupath_version, server_builder or {}, entry_id)
    layout = read_layout(data)
    changes = Changes(Symbols(layout.stream, java_classes.SPECS))
    wanted = edit.image_type or ImageType.UNSET
    change_staining(changes, layout, wanted, edit.stains, retype=edit.retype)
    if edit.steps:
        append_steps(changes, layout, edit.steps)
    added = edit.add is not None and len(edit.add)
    if len(edit.remove) or edit.update or edit.measure or edit.change or added:
        change_objects(changes, read_objects(layout), edit)
    return changes.apply()


def _new_file(version: str, server_builder: Mapping[str, Any], entry_id: str | None) -> bytes:
    """Make the data of an image without objects, as QuPath would save it."""
    symbols = Symbols(EMPTY_STREAM, java_classes.SPECS)
    builder = Builder(symbols)
    builder.raw(MAGIC)
    header = b"Data file version 3"
    builder.block(struct.pack(">H", len(header)) + header)
    about = {"dataVersion": 3, "qupathVersion": version, "server": dict(server_builder)}
    builder.text(json.dumps(about, ensure_ascii=False, separators=(",", ":")))
    builder.begin("java.util.Locale")
    builder.raw(struct.pack(">i", -1))
    for text in ("", "", "en", "", ""):
        builder.reference(symbols.text(text))
    builder.end()
    builder.enum(java_classes.IMAGE_TYPE, ImageType.UNSET.value)
    builder.null()
    builder.begin(java_classes.HISTORY)
    builder.block(struct.pack(">2i", 1, 0))
    builder.end()
    builder.begin(java_classes.HIERARCHY)
    builder.begin(java_classes.ROOT)
    builder.null()
    builder.null()
    write_metadata(builder, {OBJECT_ID: str(uuid.uuid4())})
    builder.null()
    builder.block(struct.pack(">i", 0))
    builder.end()
    builder.null()
    builder.begin("java.util.HashMap")
    write_map(builder, {} if entry_id is None else {"PROJECT_ENTRY_ID": entry_id})
    builder.text("EOF")
    return assemble(symbols, [builder.piece()])
