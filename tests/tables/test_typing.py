"""Type checkers know the methods that are attached to tables, and these are as declared."""

import ast
import inspect
from pathlib import Path

import qpbridge
from qpbridge import _table_types


def test_methods_are_declared_as_they_are():
    declared = {
        node.name: [a.arg for a in (*node.args.args, *node.args.kwonlyargs)]
        for node in ast.walk(ast.parse(Path(_table_types.__file__).read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    assert set(declared) == {"to_pandas", "to_geodataframe", "to_anndata"}
    for name, arguments in declared.items():
        assert list(inspect.signature(getattr(qpbridge.ObjectTable, name)).parameters) == arguments
