"""Packages that import all of their modules at once, imported piece by piece."""

from __future__ import annotations

import subprocess
import sys

import pytest

GREEDY = '''
"""A package that wants all of its modules, and more."""
import json
from .light import answer, answer as other
from .heavy import load
from .inner import deep
counted = [1, 2, 3]
def greet():
    return "hello"
'''


@pytest.fixture
def greedy(tmp_path):
    """Runs a script beside a greedy package, and returns what it prints."""
    package = tmp_path / "greedy"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text(GREEDY)
    (package / "light.py").write_text("answer = 42\n")
    (package / "heavy.py").write_text("print('heavy')\ndef load():\n    return 'loaded'\n")
    (package / "inner" / "__init__.py").write_text(
        "from ..heavy import load\nfrom .a import deep\n"
    )
    (package / "inner" / "a.py").write_text("from greedy.light import answer\ndeep = answer + 1\n")

    def run(script: str, *, before: str = "") -> list[str]:
        start = "from qpbridge.cli.lazy_packages import import_in_pieces\n"
        whole = f"{before}\n{start}import_in_pieces('greedy')\n{script}"
        done = subprocess.run(
            [sys.executable, "-c", f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{whole}"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


@pytest.mark.parametrize(
    ("script", "printed"),
    [
        ("import greedy.light; print(greedy.light.answer)", ["42"]),
        ("from greedy import answer, other; print(answer, other)", ["42 42"]),
        ("from greedy.inner.a import deep; print(deep)", ["43"]),
        ("from greedy.inner import deep; print(deep)", ["43"]),
        ("import greedy; print(greedy.inner.a.deep, greedy.light.answer)", ["43 42"]),
        ("from greedy import load; print(load())", ["heavy", "loaded"]),
        ("from greedy.inner import load; print(load())", ["heavy", "loaded"]),
        ("import greedy; print(greedy.greet(), greedy.counted)", ["heavy", "hello [1, 2, 3]"]),
        ("import greedy; print(greedy.json.__name__)", ["heavy", "json"]),
        ("import greedy; print(hasattr(greedy, 'none'), hasattr(greedy, '__none__'))",
         ["False False"]),
        ("try:\n    from greedy import none\nexcept ImportError:\n    print('none')", ["none"]),
    ],
)  # fmt: skip
def test_what_is_asked_for_is_imported_and_no_more(greedy, script, printed):
    assert greedy(script) == printed


def test_a_package_that_is_there_stays(greedy):
    assert greedy("print(greedy.counted)", before="import greedy") == ["heavy", "[1, 2, 3]"]


def test_networks_are_the_same_whichever_way_monai_was_imported():
    """The program imports MONAI in pieces, a script the whole of it."""
    script = (
        "import sys, numpy as np\n"
        "from qpbridge.models import load_bundle\n"
        "network = load_bundle('nuclei_he').network()\n"
        "import torch\n"
        "rgb = torch.arange(3 * 128 * 128, dtype=torch.float32).reshape(1, 3, 128, 128) % 251\n"
        "with torch.inference_mode():\n"
        "    print(network(rgb).double().sum().item())\n"
        "print('monai.transforms.compose' in sys.modules)\n"
    )
    pieces = "from qpbridge.cli.lazy_packages import import_in_pieces as i\ni('monai')\n"
    outputs = [
        subprocess.run([sys.executable, "-c", s], capture_output=True, text=True, check=True).stdout
        for s in (script, pieces + script)
    ]
    (whole, all_there), (part, few_there) = (text.split() for text in outputs)
    assert whole == part
    assert (all_there, few_there) == ("True", "False")
