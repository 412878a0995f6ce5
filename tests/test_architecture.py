"""The rooms, and which way imports point between them: docs/architecture.md is the law."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_LINES = 600

Graph = Mapping[str, set[str]]


def modules_of(folder: Path) -> dict[str, Path]:
    """Find the modules of a package by their dotted names; a package is its ``__init__``."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(source: str, package: str) -> Iterator[str]:
    """Yield what of a package a module imports: anywhere in it, and hidden in whichever way.

    ``import_module`` counts too: a text that begins with the package's name is taken for what it
    imports, up to the first part that is only known when it runs.
    """
    tree = ast.parse(source)
    importers = _importers(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports are not followed"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and _called(node.func) in importers and node.args:
            names = [_known_text(node.args[0])]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == package)


def _importers(tree: ast.Module) -> set[str]:
    """Find the names by which a module calls `import_module`: aliases, and aliases of these."""
    names = {"import_module", "__import__"}
    aliases = [
        (alias.name, alias.asname)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            aliases += [(_called(node.value), _called(target)) for target in node.targets]
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value:
            aliases.append((_called(node.value), _called(node.target)))
    while found := {new for old, new in aliases if old in names} - names:
        names |= found
    return names


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _known_text(argument: ast.expr) -> str:
    if isinstance(argument, ast.JoinedStr) and argument.values:
        argument = argument.values[0]
    return str(argument.value).rstrip(".") if isinstance(argument, ast.Constant) else ""


def graph_of(folder: Path) -> dict[str, set[str]]:
    """Draw the imports between the modules of a package."""
    modules = modules_of(folder)
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        graph[name] = set()
        for target in imports_of(path.read_text("utf-8"), folder.name):
            while target not in modules:  # a name in a module
                target = target.rpartition(".")[0]
            graph[name].add(target)
        graph[name].discard(name)
    return graph


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def circles(graph: Graph) -> list[list[str]]:
    """Find modules that import one another in a circle (strongly connected components)."""
    order: list[str] = []
    seen: set[str] = set()
    backwards: dict[str, set[str]] = {name: set() for name in graph}
    for name, targets in graph.items():
        for target in targets:
            backwards[target].add(name)

    def visit(start: str, arrows: Graph, done: list[str]) -> None:
        stack = [(start, iter(sorted(arrows[start])))]
        seen.add(start)
        while stack:
            name, left = stack[-1]
            following = next((t for t in left if t not in seen), None)
            if following is None:
                done.append(name)
                stack.pop()
            else:
                seen.add(following)
                stack.append((following, iter(sorted(arrows[following]))))

    for name in graph:
        if name not in seen:
            visit(name, graph, order)
    seen.clear()
    found = []
    for name in reversed(order):
        if name not in seen:
            component: list[str] = []
            visit(name, backwards, component)
            if len(component) > 1:
                found.append(sorted(component))
    return found


def read_order(page: str) -> list[tuple[set[str], set[str]]]:
    """Read the rooms of docs/architecture.md, top first: those of a line, and what it may import
    of lines above."""
    (block,) = re.findall(r"^```rooms\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    lines = [re.split(r"\s{2,}", line)[0] for line in block.splitlines()]
    parted = [line.partition("<-") for line in lines]
    return [(set(rooms.split()), set(above.split())) for rooms, _, above in parted]


def wrong_arrows(graph: Graph, order: list[tuple[set[str], set[str]]]) -> list[str]:
    """Find imports that point up, or to a room that nobody listed."""
    level = {room: i for i, (rooms, _) in enumerate(order) for room in rooms}
    wrong = []
    for name, targets in graph.items():
        for target in targets:
            here, there = room_of(name), room_of(target)
            if here == there:
                continue
            if here not in level or there not in level:
                wrong.append(f"{name} -> {target}: not in the list of rooms")
            elif level[there] <= level[here] and there not in order[level[here]][1]:
                wrong.append(f"{name} -> {target}")
    return sorted(wrong)


def without_top(graph: Graph) -> dict[str, set[str]]:
    """Leave out the package itself: every import of it runs it, but it only names what is below."""
    top = next(iter(graph)).split(".")[0]
    return {n: {t for t in ts if t != top} for n, ts in graph.items() if n != top}


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    return graph_of(ROOT / "qpbridge")


@pytest.fixture(scope="module")
def order() -> list[tuple[set[str], set[str]]]:
    return read_order((ROOT / "docs" / "architecture.md").read_text("utf-8"))


def test_arrows_point_down(graph, order):
    assert wrong_arrows(graph, order) == []


def test_every_room_is_listed(graph, order):
    listed = set.union(*(rooms for rooms, _ in order))
    assert listed - {"__main__"} == {room_of(name) for name in graph} - {"__main__"}


def test_no_module_imports_itself_by_others(graph):
    assert circles(without_top(graph)) == []


def test_modules_are_small():
    lines = {
        p: len(p.read_text("utf-8").splitlines()) for p in modules_of(ROOT / "qpbridge").values()
    }
    assert {str(path): n for path, n in lines.items() if n > MAX_LINES} == {}


HIDDEN = {
    "in a function": "def f():\n    from house.{0} import thing\n",
    "for types only": "import typing\nif typing.TYPE_CHECKING:\n    from house.{0} import thing\n",
    "by its text": "import importlib\nimportlib.import_module('house.{0}')\n",
    "by a text with a part": "from importlib import import_module as i\n"
    "import importlib\nx = 1\nimportlib.import_module(f'house.{0}.{{x}}')\n",
    "by another name": "from importlib import import_module as i\ni('house.{0}')\n",
    "by a name of a name": "import importlib\ni = importlib.import_module\nj = i\nj('house.{0}')\n",
    "as a whole": "import house.{0}\n",
    "as a module": "from house import {0}\n",
}


@pytest.fixture
def house(tmp_path):
    """A package of two rooms, which don't know one another yet."""
    folder = tmp_path / "house"
    for room in ("roof", "cellar"):
        (folder / room).mkdir(parents=True)
        (folder / room / "__init__.py").write_text("")
    (folder / "__init__.py").write_text("")
    return folder


ORDER = [({"__init__"}, set()), ({"roof"}, set()), ({"cellar"}, set())]


@pytest.mark.parametrize("how", HIDDEN)
def test_an_arrow_up_is_found_however_it_is_hidden(house, how):
    (house / "cellar" / "pipes.py").write_text(HIDDEN[how].format("roof"))
    assert wrong_arrows(graph_of(house), ORDER) == ["house.cellar.pipes -> house.roof"]


@pytest.mark.parametrize("how", HIDDEN)
def test_an_arrow_down_is_fine(house, how):
    (house / "roof" / "pipes.py").write_text(HIDDEN[how].format("cellar"))
    assert wrong_arrows(graph_of(house), ORDER) == []


def test_a_room_that_is_not_listed_is_found(house):
    (house / "attic.py").write_text("import house.cellar\n")
    assert wrong_arrows(graph_of(house), ORDER) == [
        "house.attic -> house.cellar: not in the list of rooms"
    ]


def test_circles_are_found(house):
    (house / "roof" / "a.py").write_text("from house.roof.b import x\n")
    (house / "roof" / "b.py").write_text("def f():\n    import house.roof.c\n")
    (house / "roof" / "c.py").write_text("from house.roof import a\n")
    (house / "roof" / "d.py").write_text("from house.roof import a\n")
    found = circles(without_top(graph_of(house)))
    assert found == [["house.roof.a", "house.roof.b", "house.roof.c"]]
