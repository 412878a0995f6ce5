"""JSON values as QuPath shows them."""

from __future__ import annotations

import json


def as_text(value: object) -> str:
    """Write a JSON value as the text that QuPath would show; text stays."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
