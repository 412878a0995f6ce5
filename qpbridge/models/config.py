"""The configuration of a MONAI bundle, read without carrying any of it out.

Files of other people's are small trees of plain data here, or an error: nothing in them may be
deep, grow when it is read, or refer to itself.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qpbridge.errors import ModelError
from qpbridge.objects import PathClass

Config = Mapping[str, Any]

MAX_JSON, MAX_YAML = 4_000_000, 100_000
"""Bytes of a file; YAML is read slowly."""

SCRIPT = Path("models") / "model.ts"
WEIGHTS = ("model.pt", "model.safetensors")
"""Where a bundle has its network as TorchScript, and which files of models/ hold weights."""

MAX_VALUES, MAX_DEPTH = 100_000, 40
"""In a file, or in a value with what it refers to."""

_REFERENCE = re.compile(r"\$?@([\w#:.]+)")


def read_config(folder: Path) -> Config:
    """Read configs/inference.json or .yaml; empty if there is none."""
    for name in ("inference.json", "inference.yaml", "inference.yml"):
        path = folder / "configs" / name
        if path.is_file():
            return read_document(path)
    return {}


def config_path(folder: Path) -> Path:
    """Name the file that `read_config` reads, or the one that is missing."""
    names = [folder / "configs" / f"inference.{ending}" for ending in ("json", "yaml", "yml")]
    return next((path for path in names if path.is_file()), names[0])


def read_document(path: Path) -> dict[str, Any]:
    """Read a JSON or YAML file that holds a mapping.

    Raises
    ------
    ModelError
        If it can't be read, isn't JSON or YAML, or is larger or deeper than any configuration.
    """
    yaml = path.suffix != ".json"
    most = MAX_YAML if yaml else MAX_JSON
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise ValueError(f"over {most / 1e6:g} MB, which no configuration has")
        content = (_yaml if yaml else json.loads)(data.decode("utf-8-sig"))
        content = _Copy(str).of(content)
    except (OSError, ValueError, RecursionError) as error:
        kind = "YAML" if yaml else "JSON"
        why = "nested too deeply" if isinstance(error, RecursionError) else error
        raise ModelError(f"{path}: can't be read as {kind} ({why}).") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: a {'mapping' if yaml else 'JSON object'} was expected.")
    return content


def plain_value(config: Config, value: Any) -> Any:
    """Follow ``@name`` to a plain value; None for what would have to be computed."""
    for _ in range(8):
        if not isinstance(value, str):
            return value
        match = _REFERENCE.fullmatch(value)
        if match is None:
            return None if value.startswith(("$", "@", "%")) else value
        node: Any = config
        for key in re.split(r"[#:]+", match[1]):
            node = node.get(key) if isinstance(node, Mapping) else None
        value = node
    return None


def path_classes(section: Config) -> tuple[PathClass, ...]:
    """Return the classes of a bundle's section ``qpbridge`` as QuPath's."""
    return tuple(
        PathClass((str(c["name"]),), (int(c["color"][0]), int(c["color"][1]), int(c["color"][2])))
        for c in section.get("classes", ())
    )


def expand(config: Config, value: Any) -> Any:
    """Put plain values in the place of all ``@name`` in a value, however deep.

    Raises
    ------
    ValueError
        If something in it would have to be computed, or it refers to itself.
    """

    def follow(text: str) -> Any:
        found = plain_value(config, text)
        if found is None:
            raise ValueError(f"{text!r} would run code; state its value")
        return found

    return _Copy(follow).of(value)


class _Copy:
    """Copies a tree of plain values, and refuses one that is no such tree, or too large.

    Parameters
    ----------
    text
        What is put in the place of a text; a tree that it gives is copied in turn.
    """

    def __init__(self, text: Callable[[str], Any]) -> None:
        self.text, self.left = text, MAX_VALUES

    def of(self, value: Any, depth: int = 0) -> Any:
        self.left -= 1
        if self.left < 0 or depth > MAX_DEPTH:
            raise ValueError(
                f"over {MAX_VALUES} values or {MAX_DEPTH} levels, with all that it refers to"
            )
        if isinstance(value, str):
            if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
                raise ValueError(f"{value!r} is no text")
            found = self.text(value)
            return found if isinstance(found, str) else self.of(found, depth + 1)
        if isinstance(value, Mapping):
            return {self._key(k): self.of(v, depth + 1) for k, v in value.items()}
        if isinstance(value, list):
            return [self.of(v, depth + 1) for v in value]
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int) and abs(value) < 2**63:
            return value
        raise ValueError(f"{str(value)[:40]} is no value of a configuration")

    def _key(self, key: Any) -> str:
        if isinstance(key, int) and not isinstance(key, bool):
            key = str(key)  # YAML has 0: background, JSON "0": "background"
        if not isinstance(key, str) or any("\ud800" <= c <= "\udfff" for c in key):
            raise ValueError(f"{key!r} is no name of a value")
        return key


def is_finite(value: Any) -> bool:
    """Whether a value is a number, and no bool, NaN or infinity."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _yaml(text: str) -> Any:
    try:
        import yaml  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise ValueError("YAML needs the package PyYAML: pip install pyyaml") from error

    class Loader(yaml.SafeLoader):  # type: ignore[misc, unused-ignore]
        """Without ``<<``, which can double what is read at every line."""

        def flatten_mapping(self, node: Any) -> None:
            if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
                raise ValueError("'<<' can't be used")

    try:
        return yaml.load(text, Loader)
    except Exception as error:  # not all that it raises is a YAMLError
        raise ValueError(str(error) or type(error).__name__) from error
