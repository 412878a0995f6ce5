"""The configuration of a MONAI bundle, read without carrying any of it out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qpbridge.errors import ModelError
from qpbridge.objects import PathClass

Config = Mapping[str, Any]


def read_config(folder: Path) -> Config:
    """Read configs/inference.json or .yaml; empty if there is none."""
    for name in ("inference.json", "inference.yaml", "inference.yml"):
        path = folder / "configs" / name
        if path.is_file():
            try:
                text = path.read_text(encoding="utf-8")
                content = json.loads(text) if path.suffix == ".json" else _yaml(text)
            except (OSError, ValueError) as error:
                raise ModelError(f"{path}: can't be read ({error}).") from error
            if not isinstance(content, dict):
                raise ModelError(f"{path}: a mapping was expected.")
            return content
    return {}


def plain_value(config: Config, value: Any) -> Any:
    """Follow ``@name`` to a plain value; None for what would have to be computed."""
    for _ in range(8):
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r"\$?@([\w#:.]+)", value)
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


def _yaml(text: str) -> Any:
    try:
        import yaml  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise ValueError("YAML needs the package PyYAML: pip install pyyaml") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
