"""The only module that touches paquo: QuPath's own Java code, where a QuPath is installed."""

from __future__ import annotations

import warnings


def find_qupath() -> str | None:
    """Return the folder of the QuPath that paquo would use; None where it finds none."""
    from paquo._config import settings
    from paquo.jpype_backend import find_qupath as search

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = search(**{key.lower(): value for key, value in settings.to_dict().items()})
        except (ValueError, FileNotFoundError, OSError):
            return None
    return str(found.app_dir)
