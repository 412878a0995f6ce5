"""What a column of a table holds, as a list."""

from __future__ import annotations

from typing import Any

from qpbridge.tables.column_types import Column, Numbers, Texts


def values(column: Column) -> list[Any]:
    """What a column holds: None where an object has nothing."""
    made = column.values()
    if isinstance(made, Texts):
        return [made.labels[code] if code >= 0 else None for code in made.codes]
    if isinstance(made, Numbers):
        pairs = zip(made.values.tolist(), made.absent.tolist(), strict=True)
        return [None if absent else value for value, absent in pairs]
    return list(made.astype(str).tolist())
