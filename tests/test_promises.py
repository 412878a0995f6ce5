"""Every promise of docs/safety.md has a test that holds it, and the README leads there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

KEPT = {
    "own-only": "engine/test_edit.py::test_a_nucleus_that_was_moved_away_keeps_its_id_and_the_one_"
    "found_again_gets_another",
    "deleted": "cli/test_deleted.py::test_what_was_deleted_stays_deleted_and_is_counted "
    "cli/test_deleted.py::test_what_was_moved_is_not_found_again_at_its_old_place",
    "undo": "cli/test_undo.py::test_undo_is_exact_and_goes_on_to_the_run_before "
    "cli/test_undo.py::test_what_a_person_did_since_stays",
    "byte-for-byte": "project/qpdata/test_edit.py::test_what_is_not_touched_keeps_its_bytes",
    "whole-or-not": "project/files/test_atomic.py::test_any_failure_leaves_all_or_nothing",
    "any-moment": "engine/segmenting/test_kills.py::test_killed_before_any_call",
    "inside": "project/test_links.py::test_links_lead_nowhere",
    "outputs": "project/test_links.py::test_no_file_of_a_project_and_no_image_is_replaced",
    "one-writer": "project/files/test_leases.py::test_of_several_who_take_over_one_has_it",
    "shared-work": "engine/segmenting/test_two_runs.py::test_each_does_what_the_other_does_not",
    "meanwhile": "project/test_saving.py::test_what_qupath_saves_is_never_lost",
    "lost-data": "project/test_links.py::test_are_told",
    "nothing-runs": "project/test_hostile.py::test_no_class_is_ever_made_from_a_stream "
    "models/test_hostile_bundles.py::test_nothing_but_networks_is_called "
    "models/test_hostile_bundles.py::test_torchscript_needs_trust_once "
    "models/test_hostile_bundles.py::test_trusted_torchscript_may_only_compute",
}

IN_THE_README = {
    "Only objects that qpbridge made, and that nobody changed since, are ever removed.": "own-only",
    "What it does not understand in a file is carried over byte for byte.": "byte-for-byte",
    "Files are replaced whole, with a backup, or not at all.": "whole-or-not",
    "Nothing that comes in a file is run, except a TorchScript model that you said you trust.": (
        "nothing-runs"
    ),
}


def promises() -> dict[str, str]:
    text = (ROOT / "docs/safety.md").read_text("utf-8")
    return dict(re.findall(r"^- `([a-z-]+)`: (.+)", text, re.MULTILINE))


def test_every_promise_is_kept_by_a_test() -> None:
    text = (ROOT / "docs/safety.md").read_text("utf-8")
    assert len(promises()) == len(re.findall("^- ", text, re.MULTILINE)), "each has a name"
    assert promises().keys() == KEPT.keys()


@pytest.mark.parametrize("promise", KEPT)
def test_its_tests_are_there(promise: str) -> None:
    for test in KEPT[promise].split():
        file, _, name = test.partition("::")
        tree = ast.parse((ROOT / "tests" / file).read_text("utf-8"))
        found = [n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
        assert name in found


def test_what_the_readme_says_is_promised() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    said = text.partition("\n## What it promises\n")[2].partition("[The promises")[0]
    sentences = re.findall(r"\S[^.]*\.", " ".join(said.split()))
    assert sentences == list(IN_THE_README)
    assert set(IN_THE_README.values()) <= promises().keys()


def test_the_readme_leads_there() -> None:
    assert "docs/safety.md" in (ROOT / "README.md").read_text("utf-8")
