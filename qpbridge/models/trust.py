"""Which TorchScript networks a user trusts: a list in the user's own configuration.

TorchScript is a program. Which is trusted is kept with a digest of its bytes, by the path that the
user named; one that was changed since, or lies elsewhere, isn't.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

from qpbridge.errors import ModelError, ProjectError
from qpbridge.models.config import read_document
from qpbridge.project.files.atomic import atomic_file


def trust_list() -> Path:
    """Return the file with the list."""
    home = Path.home()
    if sys.platform == "win32":
        base = os.environ.get("APPDATA") or home / "AppData" / "Roaming"
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = os.environ.get("XDG_CONFIG_HOME") or home / ".config"
    return Path(base) / "qpbridge" / "trusted.json"


def digest_of(script: bytes) -> str:
    """Return what identifies a program, in hexadecimal digits."""
    return hashlib.sha256(script).hexdigest()


def is_trusted(place: Path, script: bytes) -> bool:
    """Whether the user trusts this program, as it is now, at this path."""
    return _read().get(str(place.resolve())) == digest_of(script)


def trust_script(place: Path, script: bytes) -> None:
    """Put a program into the list.

    Raises
    ------
    ModelError
        If the list can't be written.
    """
    path = trust_list()
    known = {**_read(), str(place.resolve()): digest_of(script)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            file.write(json.dumps(known, indent=1, sort_keys=True).encode())
    except (OSError, ProjectError) as error:
        raise ModelError(f"{path}: can't note that the model is trusted ({error}).") from error


def refuse_untrusted(place: Path) -> ModelError:
    """Return the error that says why a program isn't run, and how it can be."""
    changed = str(place.resolve()) in _read()
    was = " It was trusted before, and has changed since." if changed else ""
    return ModelError(
        f"{place}: its network is TorchScript (models/model.ts), which is a program of whoever "
        f"made it: running it could harm your files or fill the memory.{was} If you know and trust "
        "where it comes from, say `trust` once for it; otherwise ask for a bundle with a "
        "network_def and weights (models/model.pt): these can't run anything."
    )


def _read() -> dict[str, object]:
    path = trust_list()
    return read_document(path) if path.is_file() else {}
