"""Where paquo looks for a QuPath, looked through without importing paquo."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

SETTINGS = ".paquo*.toml"
"""Files with settings of paquo: its own, and one beside it that ends in ``.local.toml``."""


def may_be_found() -> bool:
    """Whether paquo could find a QuPath; False only if it surely finds none.

    Any settings but paquo's defaults, in the environment or in a file, are left for paquo to read.
    """
    spec = find_spec("paquo")
    folders = () if spec is None else tuple(spec.submodule_search_locations or ())
    if not folders or _has_settings():
        return True
    defaults = tomllib.loads((Path(folders[0]) / ".paquo.defaults.toml").read_text("utf-8"))
    fits = re.compile(defaults["qupath_search_dir_regex"])
    return any(_holds(Path(place).expanduser(), fits) for place in defaults["qupath_search_dirs"])


def _has_settings() -> bool:
    """Whether paquo is told anything, or conda runs, which can bring a QuPath."""
    told = ("PAQUO_", "CONDA_PREFIX")
    if any(name.upper().startswith(told) or "DYNACONF" in name.upper() for name in os.environ):
        return True
    here, program = Path.cwd(), Path(sys.argv[0] or ".").absolute().parent
    folders = {folder for start in (here, program) for folder in (start, *start.parents)}
    places = (place for folder in folders for place in (folder, folder / "config"))
    return any(any(place.glob(SETTINGS)) for place in places)


def _holds(place: Path, fits: re.Pattern[str]) -> bool:
    """Whether a folder has one of such a name in it; one that can't be read may have."""
    try:
        return any(fits.match(found.name) for found in place.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
