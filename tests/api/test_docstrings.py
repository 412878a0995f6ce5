"""The examples in the docstrings of public functions and methods run, and say what comes out."""

from __future__ import annotations

import doctest
import inspect

import numpy as np
import pytest
import shapely
from cli_helpers import annotations

import qpbridge

FUNCTIONS = [name for name in qpbridge.__all__ if inspect.isfunction(getattr(qpbridge, name))]


def documented() -> dict[str, object]:
    """Everything public that has a docstring of its own, methods with it."""
    found = {}
    for name in qpbridge.__all__:
        item = getattr(qpbridge, name)
        found[name] = item
        if inspect.isclass(item):
            for key, member in vars(item).items():
                member = getattr(member, "__func__", member)
                if not key.startswith("_") and inspect.isfunction(member):
                    found[f"{name}.{key}"] = member
        if inspect.ismodule(item):
            found |= {f"{name}.{key}": getattr(item, key) for key in item.__all__}
    return found


EXAMPLES = {
    name: item for name, item in documented().items() if ">>>" in (inspect.getdoc(item) or "")
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_verb_has_an_example(name):
    assert name in EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name, path, truth, tmp_path, pictures):
    geojson = tmp_path / "one.geojson"
    qpbridge.write_geojson(annotations((shapely.box(400, 400, 500, 500), "Other", "new")), geojson)
    given = {
        "qpbridge": qpbridge,
        "path": path,
        "project": qpbridge.open_project(path),
        "slide": truth.path,
        "pixels": truth.pixels[:300, :400],
        "pictures": pictures,
        "folder": tmp_path,
        "geojson": geojson,
        "np": np,
        **{key: getattr(qpbridge, key) for key in qpbridge.__all__},
    }
    test = doctest.DocTestParser().get_doctest(
        inspect.getdoc(EXAMPLES[name]), given, name, None, None
    )
    assert test.examples
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    assert runner.run(test).failed == 0
