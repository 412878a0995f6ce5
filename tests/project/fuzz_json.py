"""Projects whose JSON lies: mutations of project.qpproj and classes.json.

By hand, for longer::

    PYTHONPATH=.:tests python -m project.fuzz_json FIRST COUNT
"""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

from project.files import png
from project.processes import Trouble, fuzz_by_hand, run_guarded
from project.suite import discs

from qpbridge.errors import QpbridgeError
from qpbridge.objects import PathClass
from qpbridge.project import create_project, open_project
from qpbridge.project.interface import Edit

PROJECT, CLASSES = "project.qpproj", "classifiers/classes.json"
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**200, -0.0, 1.5, 1e308, -1e308),
    *(float("nan"), float("inf"), "", "0", "1", " ", "a", ":", ": :", "a:", "::b", "é" * 300),
    *(
        "../../../../tmp/x",
        "/etc/passwd",
        "..",
        "1/../..",
        "C:\\x",
        "\\\\host\\share",
        "\0",
        "\ud800",
    ),
    *("file:///etc/passwd", "file:////host/x", "file:", "file:%00", "http://[", "x:y", "%ff%fe"),
    *([], {}, [[]], [None], {"": None}, [1, "a"], {"builder": {}}, {"uri": 5}, "\x1b[2J\n"),
)


def deep(depth: int, choose: random.Random) -> str:
    opening, closing = choose.choice((("[", "]"), ('{"builder":', "}"), ('{"a":[', "]}")))
    return opening * depth + "1" + closing * depth


def places(document: Any) -> list[tuple[Any, Any]]:
    """All containers and keys in a document."""
    found, stack = [], [document]
    while stack:
        one = stack.pop()
        keys = (
            list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        )
        for key in keys:
            found.append((one, key))
            stack.append(one[key])
    return found


def mutant(text: bytes, choose: random.Random) -> bytes:
    """Change a JSON file in one to four ways."""
    document = json.loads(text)
    for _ in range(choose.choice((1, 1, 2, 4))):
        found = places(document)
        if not found:
            break
        where, key = choose.choice(found)
        way = choose.randrange(6)
        if way < 3:
            where[key] = copy.deepcopy(choose.choice(VALUES))
        elif way == 3:
            del where[key]
        elif way == 4:
            other, other_key = choose.choice(found)
            where[key] = copy.deepcopy(other[other_key]) if other_key in _keys(other) else None
        else:
            where[key] = "DEEP"
    raw = json.dumps(document)
    depth = choose.choice((3, 60, 300, 900, 5000))
    out = raw.replace('"DEEP"', deep(depth, choose)).encode("utf-8", "surrogatepass")
    way = choose.randrange(12)
    if way == 0:
        return out[: choose.randrange(len(out))]
    if way == 1:
        at = choose.randrange(len(out))
        return out[:at] + bytes([choose.randrange(256)]) + out[at + 1 :]
    if way == 2:
        return out.replace(b"1", b"9" * choose.choice((30, 400, 5000)), 1)
    if way == 3:
        return choose.choice(
            (
                b"\xef\xbb\xbf" + out,
                b"",
                b"null",
                b"[]",
                out.decode("utf-8", "replace").encode("utf-16"),
            )
        )
    return out


def _keys(container: Any) -> Any:
    return list(container) if isinstance(container, dict) else range(len(container))


def check(folder: Path, seed: int) -> bool:
    """Break a project, do with it all that can be done, and mend it."""
    choose = random.Random(seed)
    name = choose.choice((PROJECT, PROJECT, CLASSES))
    good = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    outside = sorted(p for p in folder.parent.rglob("*") if folder not in p.parents)
    (folder / name).write_bytes(mutant(good[folder / name], choose))
    try:
        return _use(folder, seed)
    finally:
        for path in [p for p in folder.rglob("*") if p.is_file() and p not in good]:
            path.unlink()
        for path, data in good.items():
            path.write_bytes(data)
        assert outside == sorted(p for p in folder.parent.rglob("*") if folder not in p.parents)


def _use(folder: Path, seed: int) -> bool:
    try:
        project = open_project(folder / PROJECT, "embedded")
    except QpbridgeError as error:
        assert str(folder) in str(error)
        return False
    for entry in project.images:
        for act in (entry.image_path, entry.read, entry.has_data):
            try:
                act()
            except QpbridgeError as error:
                assert str(error)
        try:
            entry.apply(Edit(add=discs(1, path_class=PathClass((f"Class {seed}",)))))
        except QpbridgeError as error:
            assert str(folder) in str(error)
        else:
            assert open_project(folder / PROJECT, "embedded").classes == project.classes
    return True


def fuzz(folder: Path, first: int, count: int) -> tuple[int, list[Trouble]]:
    """Check `count` mutants in a new project; returns how many could be opened."""
    images = [png(folder / f"{name}.png") for name in "ab"]
    create_project(folder / "lab" / PROJECT, images)
    return run_guarded(lambda seed: check(folder / "lab", seed), range(first, first + count))


if __name__ == "__main__":
    fuzz_by_hand(fuzz)
