"""The library names its own arguments; the command line puts its options in their place."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import click
import pytest

import qpbridge
from qpbridge.cli import main
from qpbridge.cli.wording import OPTIONS, describe_error, in_options
from qpbridge.errors import CombinationError, MissingImageError, RequestError

PACKAGE = Path(qpbridge.__file__).parent
QUOTED = re.compile(r"`(\w+)`")


def messages() -> dict[str, set[str]]:
    """Texts in the library outside of docstrings, by file."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        if file.relative_to(PACKAGE).parts[0] in ("cli", "_bundles"):
            continue
        tree = ast.parse(file.read_text("utf-8"))
        documents = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        found[str(file.relative_to(PACKAGE))] = {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in documents
        }
    return found


def commands() -> dict[str, click.Command]:
    context = click.Context(main)
    return {name: main.get_command(context, name) for name in main.list_commands(context)}


def test_the_library_names_no_option():
    own = {"--series", "--no-crop", "--dims", "--name"}  # of QuPath's servers
    own |= {"--enable-native-access=ALL-UNNAMED"}
    for file, texts in messages().items():
        for text in texts:
            if file in ("training/readme.py", "engine/remove.py"):
                continue  # command lines for people to copy, and in QuPath's history
            named = set(re.findall(r"(?<![\w-])--[a-z][\w=-]*", text)) - own
            assert not named, f"{file}: {text!r}"


def test_every_argument_that_a_message_names_is_an_option():
    named = {(f, n) for f, texts in messages().items() for t in texts for n in QUOTED.findall(t)}
    assert len(named) > 15
    verbs = {"write_geojson"}
    unknown = {(file, name) for file, name in named if name not in OPTIONS and name not in verbs}
    assert not unknown


def test_every_option_is_one_of_a_command():
    there = {
        option
        for command in commands().values()
        for parameter in command.params
        for option in parameter.opts
    }
    for name, option in OPTIONS.items():
        assert option in there or option.startswith("'qpbridge "), name


def test_every_argument_is_one_of_a_verb():
    verbs = [f for n in qpbridge.__all__ if inspect.isfunction(f := getattr(qpbridge, n))]
    there = {name for verb in verbs for name in inspect.signature(verb).parameters}
    assert set(OPTIONS) - there - {"relocate"} == set()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RequestError("tile", 0, "too small"), "--tile 0: too small"),
        (RequestError("positivity", (0.4, 0.2), "x"), "--positivity 0.4,0.2: x"),
        (RequestError("ids", "left", "is none"), "`ids` 'left': is none"),
        (CombinationError("`within` or `whole_image`", "within"), "--within or --whole-image"),
    ],
)
def test_errors_in_the_words_of_the_command_line(error, text):
    assert describe_error(error) == text


def test_the_cure_for_missing_images_names_both_options():
    cure = in_options(MissingImageError.CURE)
    for option in ("--relocate", "--search", "'qpbridge relocate'"):
        assert option in cure
